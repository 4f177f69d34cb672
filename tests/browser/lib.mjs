// What the browser scripts share. playwright-core is found through NODE_PATH; the browser through CHROMIUM.
import { createRequire } from "node:module";
import fs from "node:fs";
import path from "node:path";

const { chromium } = createRequire(import.meta.url)("playwright-core");
const FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"];

export const readJSON = (path) => JSON.parse(fs.readFileSync(path, "utf8"));
export const answer = (value) => console.log(`RESULT ${JSON.stringify(value)}`);

export async function browse(work) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS });
  try {
    await work(browser);
  } finally {
    await browser.close();
  }
}

// The host keeps what a page sets, so every page says all of it: no visit depends on the one before.
const SETTINGS = {
  "Comfy.TutorialCompleted": true, "Comfy.Minimap.Visible": false, "Comfy.Graph.CanvasInfo": false, "Comfy.VueNodes.Enabled": false, "Comfy.ColorPalette": "dark",
  "Comfy.Locale": "en", "Comfy.Canvas.SelectionToolbox": true, "Comfy.NodeSearchBoxImpl": "default",
};

/** What the host hands to pages that are opened from now on. */
export async function settle(page, url, settings = {}) {
  for (const name of Object.keys(settings)) if (!(name in SETTINGS)) throw new Error(`${name} needs a value for all other visits, in lib.mjs`);
  await page.request.post(`${url}/settings`, { data: { ...SETTINGS, ...settings } });
}

/** A page with the canvas ready. settings: of the host, by name. What the page complains about is collected in page.complaints. */
export async function openCanvas(browser, url, { settings = {}, viewport = { width: 1600, height: 1000 }, locale = "en-US" } = {}) {
  const page = await browser.newPage({ viewport, locale });
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  // Events of a run that came before the page had read the pack's scripts.
  const early = /^Unknown message type ltx2/;
  // Newer front-ends look a failed node up in the registry, which the host's own rules forbid.
  const registry = /api\.comfy\.org/;
  page.on("console", (m) => !early.test(m.text()) && !registry.test(m.text()) && m.type() === "error" && /ltx2/i.test(m.text() + m.location().url) && page.complaints.push(m.text()));
  await settle(page, url, settings);
  await page.goto(url);
  await ready(page);
  return page;
}

export async function ready(page) {
  await page.waitForFunction(() => window.app?.graph && document.querySelector("canvas") && window.LiteGraph?.registered_node_types?.LTX2TrainLoRA, null, { timeout: 120000 });
  await page.waitForFunction(() => !document.querySelector(".p-progressspinner, .p-dialog-mask"), null, { timeout: 20000 }).catch(() => {});
  await page.waitForTimeout(1000);
}

/** Opens a saved graph; widgets: { class: { name: value } } to make it small; pause: milliseconds for what the page does afterwards. */
export async function openGraph(page, graph, widgets = {}, pause = 600) {
  await page.evaluate(async ([graph, widgets]) => {
    await window.app.loadGraphData(graph);
    for (const node of window.app.graph.nodes) {
      for (const [name, value] of Object.entries(widgets[node.type] ?? {})) {
        const widget = node.widgets.find((w) => w.name === name);
        if (!widget) throw new Error(`${node.type} has no widget ${name}`);
        widget.value = value;
        widget.callback?.(value);
      }
    }
  }, [graph, widgets]);
  await page.waitForTimeout(pause);
}

/** Nodes that the host would draw red: of unknown types, or whose values it refuses. */
export async function redNodes(page) {
  return page.evaluate(() => window.app.graph.nodes.filter((n) => n.has_errors || !(n.type in window.LiteGraph.registered_node_types) && !n.subgraph).map((n) => n.type));
}

/** Brings nodes of these classes into the middle of the view, all when none is named; side: pixels that the page's own bar takes at the left. */
export async function look(page, types = [], margin = 60, most = 1.4, side = 60) {
  await page.evaluate(([types, margin, most, side]) => {
    const found = window.app.graph.nodes.filter((n) => !types.length || types.includes(n.type));
    const x0 = Math.min(...found.map((n) => n.pos[0])), y0 = Math.min(...found.map((n) => n.pos[1] - 40));
    const x1 = Math.max(...found.map((n) => n.pos[0] + n.size[0])), y1 = Math.max(...found.map((n) => n.pos[1] + n.size[1]));
    const c = window.app.canvas, rect = c.canvas.getBoundingClientRect();
    const width = rect.width - 2 * margin - side, height = rect.height - 2 * margin;
    const scale = Math.min(width / (x1 - x0), height / (y1 - y0), most);
    c.ds.scale = scale;
    c.ds.offset[0] = -x0 + (margin + side + (width - (x1 - x0) * scale) / 2) / scale;
    c.ds.offset[1] = -y0 + (margin + (height - (y1 - y0) * scale) / 2) / scale;
    c.setDirty(true, true);
  }, [types, margin, most, side]);
  await page.waitForTimeout(700);
}

/** The rectangle on the page of all nodes, or of the first of a class, a little larger: with the pack's name above and the line below. */
export async function boxOf(page, type = null, margin = 12) {
  return page.evaluate(([type, margin]) => {
    const found = window.app.graph.nodes.filter((n) => !type || n.type === type).slice(0, type ? 1 : undefined), c = window.app.canvas, rect = c.canvas.getBoundingClientRect();
    const at = (x, y) => [(x + c.ds.offset[0]) * c.ds.scale + rect.left, (y + c.ds.offset[1]) * c.ds.scale + rect.top];
    const [x0, y0] = at(Math.min(...found.map((n) => n.pos[0])), Math.min(...found.map((n) => n.pos[1] - 52)));
    const [x1, y1] = at(Math.max(...found.map((n) => n.pos[0] + n.size[0])), Math.max(...found.map((n) => n.pos[1] + n.size[1] + (n.ltx2Status ? 16 : 0))));
    return { x: x0 - margin, y: y0 - margin, width: x1 - x0 + 2 * margin, height: y1 - y0 + 2 * margin };
  }, [type, margin]);
}

/** Presses a button inside a node, which may lie outside of the window since the node has grown. */
export async function press(page, button) {
  const box = await button.boundingBox(), view = page.viewportSize();
  await page.evaluate(([dx, dy]) => {
    const c = window.app.canvas;
    c.ds.offset[0] += dx / c.ds.scale;
    c.ds.offset[1] += dy / c.ds.scale;
    c.setDirty(true, true);
  }, [view.width / 2 - box.x, view.height / 2 - box.y]);
  await page.waitForTimeout(300);
  await button.click();
}

const TYPES = { mp4: "video/mp4", mov: "video/quicktime" };

/** Drops a file on the empty canvas as a person would: [type, { widget: value }] of every node that is there afterwards. */
export async function drop(page, file) {
  await page.evaluate(() => window.app.graph.clear());
  const transfer = await page.evaluateHandle(async ([name, type, data]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type }));
    return transfer;
  }, [path.basename(file), TYPES[file.split(".").pop()], fs.readFileSync(file).toString("base64")]);
  await page.dispatchEvent("#graph-canvas", "drop", { dataTransfer: transfer, clientX: 500, clientY: 400 });
  await page.waitForFunction(() => window.app.graph.nodes.length > 0, null, { timeout: 60000 }).catch(() => {});
  await page.waitForTimeout(500);
  return page.evaluate(() => window.app.graph.nodes.map((n) => [n.type, Object.fromEntries((n.widgets ?? []).map((w) => [w.name, w.value]))]));
}

/** Whether the page draws nodes as HTML. */
export const inHTML = (page) => page.evaluate(() => Boolean(window.LiteGraph.vueNodesMode));
export const queue = (page) => page.evaluate(() => window.app.queuePrompt(0));

/** What the panel of the first Train LoRA shows, once `ready` (a function body of `p`, the panel) holds. */
export async function panel(page, condition = "true", timeout = 180000) {
  await page.waitForFunction((condition) => {
    const p = window.app.graph.nodes.find((n) => n.type === "LTX2TrainLoRA")?.ltx2Train;
    return p && new Function("p", `return ${condition}`)(p);
  }, condition, { timeout, polling: 100 });
  return page.evaluate(() => {
    const p = window.app.graph.nodes.find((n) => n.type === "LTX2TrainLoRA").ltx2Train;
    return {
      state: p.state, status: p.status.textContent, note: p.note.textContent, notice: p.notice.textContent, points: p.chart.series.video.length, validation: p.chart.series["validation video"].length,
      last: p.chart.series.video.at(-1)?.[0] ?? 0, previews: p.previews.length, reading: p.reading.textContent, playing: p.figure.querySelector("video")?.currentTime ?? null,
      buttons: Object.fromEntries(Object.entries(p.buttons).map(([k, b]) => [k, { text: b.textContent, label: b.getAttribute("aria-label"), disabled: b.disabled }])),
    };
  });
}
