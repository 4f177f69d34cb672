// Opens saved graphs in the real canvas and says what is wrong with each. Arguments: { url, folder, names, vue }.
import { answer, browse, openCanvas, openGraph, readJSON, redNodes } from "./lib.mjs";

const { url, folder, names, vue } = JSON.parse(process.argv[2]);

await browse(async (browser) => {
  const page = await openCanvas(browser, url, { settings: { "Comfy.VueNodes.Enabled": vue } });
  const found = {};
  for (const name of names) {
    page.complaints.length = 0;
    await openGraph(page, readJSON(`${folder}/${name}.json`));
    const prompt = await page.evaluate(async () => (await window.app.graphToPrompt()).output);
    const dialogs = await page.locator(".p-dialog:visible").allInnerTexts();
    await page.keyboard.press("Escape");
    found[name] = { red: await redNodes(page), prompt, dialogs, complaints: [...page.complaints], nodes: await page.evaluate(() => window.app.graph.nodes.length) };
  }
  answer(found);
});
