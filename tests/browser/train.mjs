// Trains on the canvas and uses the panel as a person would, in one renderer first; the second tab and the page after its reload
// are in the other. Arguments: { url, workflow, widgets, run, vue }.
import { answer, browse, inHTML, look, openCanvas, openGraph, panel, press, queue, readJSON, ready } from "./lib.mjs";

const { url, workflow, widgets, run, vue } = JSON.parse(process.argv[2]);
const found = {};
const button = (page, name) => page.getByRole("button", { name, exact: true });
const graph = readJSON(workflow);
const small = { ...widgets, LTX2TrainLoRA: { name: run } };

async function open(browser, vue) {
  const page = await openCanvas(browser, url, { settings: { "Comfy.VueNodes.Enabled": vue } });
  await openGraph(page, graph, small);
  await look(page, ["LTX2TrainLoRA"]);
  return page;
}

/** What the strip of the dataset says, and the sizes of its pictures. */
async function strip(page) {
  await page.locator(".ltx2-clip img").first().waitFor({ state: "attached", timeout: 60000 });
  return page.evaluate(async () => {
    const images = [...document.querySelectorAll(".ltx2-clip img")];
    for (const image of images) { image.loading = "eager"; await image.decode(); }
    return { text: document.querySelector(".ltx2-strip").innerText, pictures: images.map((i) => [i.naturalWidth, i.naturalHeight]) };
  });
}

await browse(async (browser) => {
  const page = await open(browser, vue);
  found.html = [await inHTML(page)];
  found.idle = await panel(page);
  found.widgets = await page.evaluate(() => window.app.graph.nodes.find((n) => n.type === "LTX2TrainLoRA").widgets.map((w) => w.name));
  await queue(page);
  found.moving = [await panel(page, "p.chart.series.video.length > 3"), await panel(page, "p.chart.series.video.length > 12 && p.chart.series['validation video'].length")];

  found.strip = await strip(page);
  const box = await page.locator(".ltx2-chart").boundingBox();
  await page.mouse.move(box.x + box.width * 0.6, box.y + box.height / 2);
  found.hovered = (await panel(page)).reading;
  await page.locator(".ltx2-chart").focus();
  await page.mouse.move(5, 300);
  await page.keyboard.press("ArrowLeft");
  found.keyed = (await panel(page)).reading;

  await button(page, `Pause the training of ${run}`).focus();
  await page.keyboard.press("Enter");
  found.paused = await panel(page, "p.state === 'paused'");
  await page.waitForTimeout(1000);
  found.stillPaused = await panel(page);

  const second = await open(browser, !vue);
  found.html.push(await inHTML(second));
  found.second = await panel(second, "p.state === 'paused' && p.chart.series.video.length > 12");
  await press(second, button(second, `Resume the training of ${run}`));
  found.resumed = await panel(page, `p.state === 'running' && p.chart.series.video.at(-1)[0] > ${found.stillPaused.last + 3}`);
  found.secondMoves = await panel(second, `p.chart.series.video.at(-1)[0] > ${found.stillPaused.last + 3}`);
  await second.close();

  await press(page, button(page, `Save the state of ${run} now and go on`));
  found.saved = await panel(page, "p.state === 'running' && /Saved at step/.test(p.note.textContent)");

  await page.reload();
  await ready(page);
  found.html.push(await inHTML(page));
  await openGraph(page, graph, small);
  await look(page, ["LTX2TrainLoRA"]);
  found.reloaded = await panel(page, "p.state === 'running' && p.chart.series.video.length > 12");
  found.reloadedMoves = await panel(page, `p.chart.series.video.at(-1)[0] > ${found.reloaded.last + 3}`);

  await page.waitForFunction(() => document.querySelector(".ltx2-preview video")?.currentTime > 0.1, null, { timeout: 20000 }).catch(() => {});
  found.preview = await page.evaluate(() => { const v = document.querySelector(".ltx2-preview video"); return v && { time: v.currentTime, loop: v.loop, muted: v.muted, width: v.videoWidth, label: v.getAttribute("aria-label") }; });
  found.stripAgain = await strip(page);

  await press(page, button(page, `Stop ${run}, save it and hand on the LoRA as it is`));
  found.stopped = await panel(page, "p.state === 'ended' || p.state === 'idle'");
  await page.waitForFunction(() => window.app.ui.lastQueueSize === 0 || !window.app.runningNodeId, null, { timeout: 60000 });
  found.complaints = page.complaints;
  answer(found);
});
