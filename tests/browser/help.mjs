// Opens a node's help in the real front-end, in one language. Arguments: { url, type, locale, shot }.
import { answer, browse, look, openCanvas } from "./lib.mjs";

const { url, type, locale, shot } = JSON.parse(process.argv[2]);

await browse(async (browser) => {
  const page = await openCanvas(browser, url, { settings: { "Comfy.Locale": locale } });
  const shown = await page.evaluate((type) => {
    window.app.graph.clear();
    const node = window.LiteGraph.createNode(type);
    node.pos = [100, 100];
    window.app.graph.add(node);
    window.app.canvas.selectNode(node);
    const widgets = node.widgets.filter((w) => w.name !== "ltx2_advanced").map((w) => ({ name: w.name, label: w.label ?? w.name, advanced: Boolean(w.advanced ?? w.options?.advanced), tooltip: w.tooltip }));
    return { title: node.title, widgets, inputs: node.inputs.map((i) => ({ name: i.name, label: i.localized_name ?? i.label ?? i.name })), outputs: node.outputs.map((o) => o.localized_name ?? o.name) };
  }, type);
  await look(page, [type], 200); // room above for the toolbox
  await page.locator("[data-testid='info-button']").first().click({ timeout: 30000 });
  const help = page.locator(".node-help-content");
  await help.locator("table").first().waitFor({ timeout: 30000 });
  await page.waitForFunction(() => [...document.querySelectorAll(".node-help-content img")].every((i) => i.complete), null, { timeout: 30000 });
  const page_ = await help.evaluate((panel) => ({
    heading: panel.querySelector("h1")?.innerText, text: panel.innerText, rows: [...panel.querySelectorAll("tbody tr td:first-child")].map((cell) => cell.innerText),
    pictures: [...panel.querySelectorAll("img")].map((i) => i.naturalWidth), code: panel.querySelector("pre")?.innerText,
  }));
  if (shot) await page.screenshot({ path: shot });
  answer({ shown, help: page_, complaints: page.complaints });
});
