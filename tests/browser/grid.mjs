// Validates on the canvas, reloads, and says what the node shows. Arguments: { url, workflow, widgets, vue }.
import { answer, browse, look, openCanvas, openGraph, queue, readJSON, ready } from "./lib.mjs";

const { url, workflow, widgets, vue } = JSON.parse(process.argv[2]);
const graph = readJSON(workflow);
const found = {};

/** Once the film has its size: what stands in the panel, and where its node ends. */
async function shown(page) {
  await page.waitForFunction(() => document.querySelector(".ltx2-grid video")?.videoWidth, null, { timeout: 120000, polling: 200 });
  await look(page, ["LTX2Validate"]);
  await page.waitForFunction(() => document.querySelector(".ltx2-grid video").currentTime > 0, null, { timeout: 20000 });
  return page.evaluate(() => {
    const film = document.querySelector(".ltx2-grid video"), panel = document.querySelector(".ltx2-grid"), node = window.app.graph.nodes.find((n) => n.type === "LTX2Validate");
    const c = window.app.canvas, box = panel.getBoundingClientRect();
    const foot = (node.pos[1] + node.size[1] + c.ds.offset[1]) * c.ds.scale + c.canvas.getBoundingClientRect().top;
    return { width: film.videoWidth, loop: film.loop, muted: film.muted, label: film.getAttribute("aria-label"), text: panel.innerText, inside: box.bottom <= foot + 2, stills: node.imgs?.length ?? 0 };
  });
}

await browse(async (browser) => {
  const page = await openCanvas(browser, url, { settings: { "Comfy.VueNodes.Enabled": vue } });
  await openGraph(page, graph, widgets);
  found.before = await page.evaluate(() => document.querySelector(".ltx2-grid").innerText);
  await queue(page);
  found.made = await shown(page);
  await page.reload();
  await ready(page);
  await openGraph(page, graph, widgets);
  found.reloaded = await shown(page);
  found.toasts = await page.locator(".p-toast-message").allInnerTexts();
  found.complaints = page.complaints;
  answer(found);
});
