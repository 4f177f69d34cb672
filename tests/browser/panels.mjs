// Feeds the panels what nodes and core send, in one renderer and in every palette of the host.
// Arguments: { url, plan, findings, vue, palettes }.
import { answer, browse, openCanvas } from "./lib.mjs";

const { url, plan, findings, vue, palettes } = JSON.parse(process.argv[2]);

/** In the page: contrast of every text and of every curve with what lies behind it. */
function contrasts() {
  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const pixels = (colour) => { probe.clearRect(0, 0, 1, 1); probe.fillStyle = colour; probe.fillRect(0, 0, 1, 1); return [...probe.getImageData(0, 0, 1, 1).data].map((v) => v / 255); };
  const channel = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const over = (top, below) => top.slice(0, 3).map((v, i) => v * top[3] + below[i] * (1 - top[3]));
  const behind = (element) => {
    const stack = [];
    for (let e = element; e; e = e.parentElement) stack.push(pixels(getComputedStyle(e).backgroundColor));
    return stack.reverse().reduce((below, top) => over(top, below), [0, 0, 0]);
  };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const opacity = (element, panel) => { let all = 1; for (let e = element; e !== panel; e = e.parentElement) all *= getComputedStyle(e).opacity; return all; };
  const found = { text: {}, lines: {} };
  for (const panel of document.querySelectorAll(".ltx2-panel")) {
    for (const e of panel.querySelectorAll("p, b, li, button:not(:disabled), figcaption, span, .ltx2-nothing")) {
      if (!e.textContent.trim() || !e.offsetParent) continue;
      const name = `${panel.className} ${e.tagName} ${e.className}`;
      const below = behind(e), [r, g, b, a] = pixels(getComputedStyle(e).color);
      found.text[name] = Math.min(found.text[name] ?? 99, ratio(over([r, g, b, a * opacity(e, panel)], below), below));
    }
  }
  for (const swatch of document.querySelectorAll(".ltx2-train .ltx2-swatch")) {
    const panel = swatch.closest(".ltx2-panel");
    found.lines[swatch.parentElement.textContent] = ratio(pixels(getComputedStyle(swatch).backgroundColor), behind(panel));
  }
  return found;
}

await browse(async (browser) => {
  const page = await openCanvas(browser, url, { settings: { "Comfy.VueNodes.Enabled": vue } });
  await page.evaluate(() => {
    window.app.graph.clear();
    const make = (type, x) => { const node = window.LiteGraph.createNode(type); node.pos = [x, 80]; window.app.graph.add(node); return node; };
    const memory = make("LTX2MemorySettings", 40), train = make("LTX2TrainLoRA", 460);
    make("LTX2VideoDataset", 880);
    make("LTX2Validate", 1300);
    memory.connect(0, train, train.inputs.findIndex((i) => i.name === "memory"));
    train.widgets.find((w) => w.name === "name").value = "planned";
    window.app.canvas.ds.scale = 1;
    window.app.canvas.ds.offset = [40, 20];
  });
  await page.waitForTimeout(1200);
  await page.evaluate(async ([plan, findings]) => {
    const { api } = await import("/scripts/api.js");
    const send = (name, detail) => api.dispatchEvent(new CustomEvent(name, { detail }));
    // As one that has its sentence in the page's language.
    send("ltx2.plan", { run: "planned", node: "2", ...plan, said: { en: { text: "The plan as it is said." } } });
    send("ltx2.run", { run: "planned", state: "paused" });
    send("ltx2.message", { run: "planned", node: "2", text: "A warning.", level: "warning" });
    const of = (type) => window.app.graph.nodes.find((n) => n.type === type);
    of("LTX2MemorySettings").onExecuted({ findings });
    const clip = { name: "a.mp4", caption: "A fox.", bucket: "768x512@49", seconds: 1.96, sound: true, image: null };
    of("LTX2VideoDataset").onExecuted({ ltx2_dataset: [{ clips: [clip], count: 30, sound: 30, dropped: [{ name: "b.mp4", reason: "has no caption" }], dropped_count: 5 }] });
    // Two pages, of which there are no films: what is written beneath them counts.
    of("LTX2Validate").onExecuted({ ltx2_grid: [1, 2].map((page) => ({ filename: `page_${page}.mp4`, subfolder: "", type: "output" })) });
  }, [plan, findings]);
  await page.waitForTimeout(600);
  const found = await page.evaluate(() => ({
    bar: document.querySelector(".ltx2-bar")?.getAttribute("aria-label"),
    plan: document.querySelector(".ltx2-memory .ltx2-status")?.textContent,
    widths: Object.fromEntries([...document.querySelectorAll(".ltx2-bar .ltx2-part")].map((e) => [e.className.split("ltx2-part-")[1], e.getBoundingClientRect().width])),
    findings: [...document.querySelectorAll(".ltx2-findings li")].map((e) => [e.className, e.textContent]),
  }));
  found.palettes = {};
  for (const palette of palettes) {
    await page.evaluate((name) => window.app.extensionManager.setting.set("Comfy.ColorPalette", name), palette);
    await page.waitForTimeout(700);
    await page.evaluate(() => document.querySelectorAll(".ltx2-button").forEach((b) => (b.disabled = false)));
    found.palettes[palette] = await page.evaluate(contrasts);
  }
  await page.evaluate(() => window.app.extensionManager.setting.set("Comfy.ColorPalette", "dark"));
  found.complaints = page.complaints;
  answer(found);
});
