// Validates on the canvas in one renderer, reloads in the other, and says what the node shows; then drops what was made.
// Arguments: { url, workflow, widgets, vue, folder }; folder: of what Validate writes.
import fs from "node:fs";
import { answer, browse, drop, inHTML, look, openCanvas, openGraph, queue, readJSON, ready, settle } from "./lib.mjs";

const { url, workflow, widgets, vue, folder } = JSON.parse(process.argv[2]);
const graph = readJSON(workflow);
const found = {};

/** Once the film has its size: what stands in the panel, and where its node ends. */
async function shown(page) {
  await page.waitForFunction(() => document.querySelector(".ltx2-grid video")?.videoWidth, null, { timeout: 240000, polling: 200 });
  await look(page, ["LTX2Validate"]);
  await page.waitForFunction(() => document.querySelector(".ltx2-grid video").currentTime > 0, null, { timeout: 60000 });
  return page.evaluate(() => {
    const film = document.querySelector(".ltx2-grid video"), panel = document.querySelector(".ltx2-grid"), node = window.app.graph.nodes.find((n) => n.type === "LTX2Validate");
    const c = window.app.canvas, box = panel.getBoundingClientRect();
    const foot = (node.pos[1] + node.size[1] + c.ds.offset[1]) * c.ds.scale + c.canvas.getBoundingClientRect().top;
    return { width: film.videoWidth, loop: film.loop, muted: film.muted, label: film.getAttribute("aria-label"), text: panel.innerText, inside: box.bottom <= foot + 2, stills: node.imgs?.length ?? 0 };
  });
}

await browse(async (browser) => {
  const page = await openCanvas(browser, url, { settings: { "Comfy.VueNodes.Enabled": vue } });
  found.html = [await inHTML(page)];
  await openGraph(page, graph, widgets);
  found.before = await page.evaluate(() => document.querySelector(".ltx2-grid").innerText);
  await queue(page);
  found.made = await shown(page);
  await settle(page, url, { "Comfy.VueNodes.Enabled": !vue });
  await page.reload();
  await ready(page);
  found.html.push(await inHTML(page));
  await openGraph(page, graph, widgets);
  found.reloaded = await shown(page);
  const cell = fs.readdirSync(folder).find((name) => name.startsWith("music__my_first_lora__seed4__"));
  found.dropped = [];
  for (const name of [cell, "grid.mp4"]) found.dropped.push(await drop(page, `${folder}/${name}`));
  found.toasts = await page.locator(".p-toast-message").allInnerTexts();
  found.complaints = page.complaints;
  answer(found);
});
