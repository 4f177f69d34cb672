// For a person at work on the panels: node look.mjs URL WORKFLOW OUT [vue] [light] — trains and takes a picture of the node.
import { boxOf, browse, look, openCanvas, openGraph, panel, queue, readJSON } from "./lib.mjs";

const [url, workflow, out, ...flags] = process.argv.slice(2);
const SMALL = { width: 128, height: 96, frames: 17 };
const WIDGETS = {
  LTX2VideoDataset: SMALL, LTX2SampleT2V: { ...SMALL, steps: 2 }, LTX2TrainingPreview: { ...SMALL, steps: 2, every: 20 },
  LTX2TrainSettings: { steps: 60, warmup: 5, dtype: "float32", learning_rate: 0.005, validate_every: 15, checkpoint_every: 20 },
};
await browse(async (browser) => {
  const settings = { "Comfy.VueNodes.Enabled": flags.includes("vue"), "Comfy.ColorPalette": flags.includes("light") ? "light" : "dark" };
  const page = await openCanvas(browser, url, { settings });
  await openGraph(page, readJSON(workflow), { ...WIDGETS, LTX2TrainLoRA: { name: `look_${flags.join("_") || "plain"}` } });
  await queue(page);
  console.log(await panel(page, "p.chart.series.video.length > 45", 120000));
  await look(page, ["LTX2VideoDataset", "LTX2TrainLoRA"]);
  await page.screenshot({ path: out });
  console.log(page.complaints, await boxOf(page, "LTX2TrainLoRA"));
});
