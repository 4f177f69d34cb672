// Opens saved graphs in the real canvas and says what is wrong with each. Arguments: { url, files: { name: path }, vue }.
import { answer, browse, openCanvas, openGraph, readJSON, redNodes } from "./lib.mjs";

const { url, files, vue } = JSON.parse(process.argv[2]);

await browse(async (browser) => {
  const page = await openCanvas(browser, url, { settings: { "Comfy.VueNodes.Enabled": vue } });
  const graphs = {};
  for (const [name, file] of Object.entries(files)) {
    await openGraph(page, readJSON(file), {}, 250);
    const prompt = await page.evaluate(async () => (await window.app.graphToPrompt()).output);
    const dialogs = await page.locator(".p-dialog:visible").allInnerTexts();
    await page.keyboard.press("Escape");
    graphs[name] = { red: await redNodes(page), prompt, dialogs };
  }
  await page.waitForTimeout(1000);
  answer({ graphs, complaints: page.complaints });
});
