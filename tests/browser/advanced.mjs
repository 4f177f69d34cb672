// Shows and hides the advanced widgets of one node. Arguments: { url, vue, type, advanced }; advanced: the name of one.
import { answer, browse, openCanvas } from "./lib.mjs";

const { url, vue, type, advanced } = JSON.parse(process.argv[2]);

await browse(async (browser) => {
  const page = await openCanvas(browser, url, { settings: { "Comfy.VueNodes.Enabled": vue } });
  const look = () => page.evaluate(async (vue) => {
    const node = window.app.graph.nodes.find((n) => n.type.startsWith("LTX2"));
    const own = node.widgets.filter((w) => w.name !== "ltx2_advanced");
    const inCanvas = own.filter((w) => node.isWidgetVisible(w)).map((w) => w.name);
    const text = document.querySelector(`[data-node-id="${node.id}"]`)?.innerText ?? "";
    const { output } = await window.app.graphToPrompt();
    return {
      names: own.map((w) => w.name), seen: vue ? own.map((w) => w.name).filter((name) => text.split("\n").includes(name)) : inCanvas,
      values: node.serialize().widgets_values, sent: Object.keys(output[node.id]?.inputs ?? {}), height: node.size[1], button: node.widgets.find((w) => w.name === "ltx2_advanced")?.label ?? null,
    };
  }, vue);
  await page.evaluate((type) => {
    window.app.graph.clear();
    const node = window.LiteGraph.createNode(type);
    node.pos = [200, 200];
    window.app.graph.add(node);
  }, type);
  await page.waitForTimeout(1200);
  const first = await look();
  const pressed = await page.evaluate(() => {
    const own = [...document.querySelectorAll("[data-testid='advanced-inputs-button']")][0];
    const node = window.app.graph.nodes[0];
    if (own) own.click();
    else node.widgets.find((w) => w.name === "ltx2_advanced").callback();
    return Boolean(own);
  });
  await page.waitForTimeout(800);
  const opened = await look();
  // Wired to, an advanced widget shows after loading although the graph was saved with them hidden.
  const wired = await page.evaluate(async ([type, advanced]) => {
    window.app.graph.clear();
    const node = window.LiteGraph.createNode(type), source = window.LiteGraph.createNode("PrimitiveInt") ?? window.LiteGraph.createNode("PrimitiveNode");
    window.app.graph.add(node);
    window.app.graph.add(source);
    source.connect(0, node, node.inputs.findIndex((i) => i.name === advanced));
    const saved = JSON.parse(JSON.stringify(window.app.graph.serialize()));
    await window.app.loadGraphData(saved);
    const loaded = window.app.graph.nodes.find((n) => n.type === type);
    return { hiddenWhenSaved: !saved.nodes.find((n) => n.type === type).showAdvanced, shown: Boolean(loaded.showAdvanced), link: loaded.inputs.find((i) => i.name === advanced).link };
  }, [type, advanced]);
  answer({ first, opened, pressed, wired, complaints: page.complaints });
});
