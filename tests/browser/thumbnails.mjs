// Runs each shipped workflow on the canvas and takes the picture by which the list of templates shows it.
// Arguments: { url, folder, workflows: [{ name, types, run, widgets }], prompt }.
import { answer, browse, look, openCanvas, openGraph, queue, readJSON } from "./lib.mjs";

const { url, folder, workflows, prompt } = JSON.parse(process.argv[2]);
const WIDTH = 960, HEIGHT = 640;
// Only the graph: none of the page's own bars.
const BARE = "body * { visibility: hidden } #graph-canvas, .dom-widget, .dom-widget *, .dom-widget-container * { visibility: visible }";

/** Runs the graph to its end. */
async function finish(page, name) {
  await page.evaluate(async () => {
    const { api } = await import("/scripts/api.js");
    window.ltx2Done = null;
    for (const kind of ["execution_success", "execution_error", "execution_interrupted"]) api.addEventListener(kind, () => { window.ltx2Done = kind; }, { once: true });
  });
  await queue(page);
  await page.waitForFunction(() => window.ltx2Done, null, { timeout: 240000, polling: 200 });
  const end = await page.evaluate(() => window.ltx2Done);
  if (end !== "execution_success") throw new Error(`${name}: ${end}`);
}

await browse(async (browser) => {
  const page = await openCanvas(browser, url, { viewport: { width: WIDTH, height: HEIGHT } });
  const pictures = [];
  for (const { name, types, run, widgets } of workflows) {
    await openGraph(page, readJSON(`${folder}/${name}.json`), widgets);
    await page.evaluate((prompt) => {
      for (const n of window.app.graph.nodes) if (n.title === "Prompt") n.widgets.find((w) => w.name === "prompt").value = prompt;
    }, prompt);
    if (run) await finish(page, name);
    await page.waitForTimeout(1200);
    await look(page, types, 24, 1.6, 0);
    const bare = await page.addStyleTag({ content: BARE });
    await page.waitForTimeout(1500);
    await page.screenshot({ path: `${folder}/${name}.jpg`, type: "jpeg", quality: 74 });
    await bare.evaluate((e) => e.remove());
    pictures.push(`${name}.jpg`);
  }
  answer({ pictures });
});
