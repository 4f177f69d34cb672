// Finds the pack's blueprint as a person does, wires it up and trains with it. Arguments: { url, blueprint, run, small, vue }.
import { answer, browse, look, openCanvas, redNodes } from "./lib.mjs";

const { url, blueprint, run, small, vue } = JSON.parse(process.argv[2]);

await browse(async (browser) => {
  const page = await openCanvas(browser, url, { settings: { "Comfy.VueNodes.Enabled": vue } });
  await page.evaluate(() => window.app.graph.clear());
  await page.mouse.dblclick(800, 500);
  await page.waitForFunction(() => document.activeElement?.tagName === "INPUT", null, { timeout: 60000 });
  await page.keyboard.type(blueprint);
  await page.waitForFunction((name) => document.body.innerText.replace(/\s+/g, " ").includes(name), blueprint, { timeout: 60000 });
  // The list may still be filling when its first line is there.
  const placed = () => page.waitForFunction(() => window.app.graph.nodes.some((n) => n.subgraph), null, { timeout: 5000 }).then(() => true, () => false);
  for (let pressed = 0, there = false; !there; pressed++) {
    if (pressed === 5) throw new Error(`${blueprint} is not placed; the page shows: ${(await page.locator("body").innerText()).slice(0, 1500)}`);
    await page.waitForTimeout(500);
    await page.keyboard.press("Enter");
    there = await placed();
  }
  const found = await page.evaluate(async ([run, small]) => {
    const graph = window.app.graph, node = graph.nodes.find((n) => n.subgraph);
    const make = (type, values = {}) => {
      const made = window.LiteGraph.createNode(type);
      graph.add(made);
      for (const [key, value] of Object.entries(values)) made.widgets.find((w) => w.name === key).value = value;
      return made;
    };
    const wire = (from, to, input) => from.connect(0, to, to.inputs.findIndex((i) => i.name === input));
    const models = make("LTX2LoadCheckpoint"), encoder = make("LTX2LoadTextEncoder"), dataset = make("LTX2VideoDataset", small), cache = make("LTX2CacheDataset");
    wire(models, cache, "checkpoint");
    wire(encoder, cache, "text_encoder");
    wire(dataset, cache, "dataset");
    wire(models, node, "checkpoint");
    wire(encoder, node, "text_encoder");
    wire(cache, node, "cache");
    for (const [key, value] of Object.entries({ name: run, steps: 4, prompt: "A red circle." })) node.widgets.find((w) => w.name === key).value = value;
    const film = node.subgraph.nodes.find((n) => n.type === "LTX2TrainingPreview");
    for (const [key, value] of Object.entries({ ...small, steps: 1 })) film.widgets.find((w) => w.name === key).value = value;
    const shown = { inputs: node.inputs.map((i) => i.name), outputs: node.outputs.map((o) => o.name), widgets: node.widgets.map((w) => w.name) };
    const prompt = (await window.app.graphToPrompt()).output;
    return { shown, kinds: Object.values(prompt).map((n) => n.class_type), inside: Object.keys(prompt).filter((id) => id.includes(":")) };
  }, [run, small]);
  found.red = await redNodes(page);
  await page.evaluate(() => window.app.queuePrompt(0));
  await page.waitForFunction(() => {
    const train = window.app.graph.nodes.find((n) => n.subgraph)?.subgraph.nodes.find((n) => n.type === "LTX2TrainLoRA");
    return train?.ltx2Train.chart.series.video.length >= 4 && train.ltx2Train.previews.length === 2;
  }, null, { timeout: 240000, polling: 200 });
  await look(page);
  found.chartOutside = await page.evaluate(() => [...document.querySelectorAll(".ltx2-chart")].some((e) => e.offsetParent && e.getBoundingClientRect().width > 50));
  found.complaints = page.complaints;
  answer(found);
});
