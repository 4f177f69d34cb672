// What two pages in different languages show of one graph: findings, reasons, and the error of a node.
// Arguments: { url, prompt, broken, locales }; prompt: a graph in the form of the API; broken: its inputs of Video Dataset that fail.
import { answer, browse, openCanvas, queue } from "./lib.mjs";

const { url, prompt, broken, locales } = JSON.parse(process.argv[2]);
const found = {};

await browse(async (browser) => {
  const pages = {};
  // No language is chosen in the host: every page has its browser's.
  for (const locale of locales) pages[locale] = await openCanvas(browser, url, { settings: { "Comfy.Locale": null }, locale });
  for (const page of Object.values(pages)) await page.evaluate((prompt) => window.app.loadApiJson(prompt, "languages"), prompt);
  for (const [locale, page] of Object.entries(pages)) {
    await queue(page);
    await page.waitForFunction(() => document.querySelector(".ltx2-findings li") && document.querySelector(".ltx2-dropped li"), null, { timeout: 60000 });
    found[locale] = await page.evaluate(() => ({
      findings: [...document.querySelectorAll(".ltx2-findings li")].map((e) => e.textContent), dropped: document.querySelector(".ltx2-dropped").textContent,
    }));
    await page.evaluate((broken) => {
      const node = window.app.graph.nodes.find((n) => n.type === "LTX2VideoDataset");
      for (const [name, value] of Object.entries(broken)) node.widgets.find((w) => w.name === name).value = value;
    }, broken);
    await queue(page);
    // Newer front-ends say first that there is an error, and what it is at the press of a button.
    const told = page.locator(".comfy-error-report, .p-dialog, [data-testid=error-overlay]").first();
    await told.waitFor({ timeout: 60000 });
    const more = page.locator("[data-testid=error-overlay-see-errors]");
    if (await more.count()) await more.click();
    await page.waitForTimeout(500);
    found[locale].error = await page.locator("body").innerText();
    found[locale].complaints = page.complaints;
  }
  answer(found);
});
