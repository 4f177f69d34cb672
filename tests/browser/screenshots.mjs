// Takes the pictures of the docs. Arguments: { url, out, run, plan, prompt, widgets, workflow }.
import { answer, boxOf, browse, look, openCanvas, openGraph, panel, queue, readJSON } from "./lib.mjs";

const { url, out, run, plan, prompt, widgets, workflow } = JSON.parse(process.argv[2]);
const pictures = [];
// Smaller, and the host leaves the words out.
const WHOLE = { width: 2300, height: 1300 };

async function take(page, name, clip) {
  await page.mouse.move(4, 600);
  await page.screenshot({ path: `${out}/${name}.jpg`, type: "jpeg", quality: 82, clip });
  pictures.push(`${name}.jpg`);
}

async function takeNode(page, name, type) {
  await aside(page, type);
  await page.evaluate(() => window.app.canvas.deselectAll()); // whose toolbox would stand over the node
  await look(page, [type], 90, 1.5);
  await page.waitForTimeout(500);
  await take(page, name, await boxOf(page, type));
}

/** Where no other node lies. */
const aside = (page, type) => page.evaluate((type) => {
  const n = window.app.graph.nodes.find((n) => n.type === type);
  n.pos = [n.pos[0], 20000];
}, type);

const widen = (page, type, width, height = 0) => page.evaluate(([type, width, height]) => {
  const n = window.app.graph.nodes.find((n) => n.type === type);
  n.setSize([width, Math.max(height, n.computeSize()[1])]);
}, [type, width, height]);

await browse(async (browser) => {
  const page = await openCanvas(browser, url, { viewport: WHOLE });
  await openGraph(page, readJSON(workflow), widgets);
  await page.evaluate((prompt) => {
    window.app.graph.nodes.find((n) => n.title === "Prompt").widgets.find((w) => w.name === "prompt").value = prompt;
  }, prompt);
  await queue(page);
  await panel(page, "p.chart.series.video.length > 220 && p.previews.length > 2", 1200000);
  await look(page, [], 60, 1);
  await take(page, "graph", await boxOf(page));
  await page.setViewportSize({ width: 1500, height: 1300 });
  await widen(page, "LTX2TrainLoRA", 520, 780);
  await widen(page, "LTX2VideoDataset", 440);
  await aside(page, "LTX2TrainLoRA");
  await look(page, ["LTX2TrainLoRA"], 90, 1.5);
  const box = await page.locator(".ltx2-chart").boundingBox();
  await page.waitForTimeout(700);
  await page.mouse.move(box.x + box.width * 0.55, box.y + box.height * 0.4);
  await page.waitForTimeout(300);
  await page.screenshot({ path: `${out}/train_lora.jpg`, type: "jpeg", quality: 82, clip: await boxOf(page, "LTX2TrainLoRA") });
  pictures.push("train_lora.jpg");
  await page.getByRole("button", { name: `Pause the training of ${run}`, exact: true }).click();
  await panel(page, "p.state === 'paused'");
  await page.evaluate(() => window.app.extensionManager.setting.set("Comfy.ColorPalette", "light"));
  await page.waitForTimeout(900);
  await takeNode(page, "train_lora_paused", "LTX2TrainLoRA");
  await page.evaluate(() => window.app.extensionManager.setting.set("Comfy.ColorPalette", "dark"));
  await page.getByRole("button", { name: `Resume the training of ${run}`, exact: true }).click();
  await takeNode(page, "dataset", "LTX2VideoDataset");
  await look(page, ["LTX2TrainLoRA"], 90, 1.5);
  await page.getByRole("button", { name: `Stop ${run}, save it and hand on the LoRA as it is`, exact: true }).click();
  await panel(page, "p.state === 'ended' || p.state === 'idle'");
  await page.evaluate(async (plan) => {
    const { api } = await import("/scripts/api.js");
    const node = window.LiteGraph.createNode("LTX2MemorySettings"), train = window.app.graph.nodes.find((n) => n.type === "LTX2TrainLoRA");
    node.pos = [train.pos[0] - 3000, train.pos[1]];
    window.app.graph.add(node);
    node.setSize([460, node.computeSize()[1]]);
    node.connect(0, train, train.inputs.findIndex((i) => i.name === "memory"));
    api.dispatchEvent(new CustomEvent("ltx2.plan", { detail: { run: train.widgets.find((w) => w.name === "name").value, ...plan } }));
  }, plan);
  await takeNode(page, "memory", "LTX2MemorySettings");
  answer({ pictures });
});
