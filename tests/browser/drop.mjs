// Drops files on the canvas as a person would, and says what graph is there afterwards. Arguments: { url, files }.
import fs from "node:fs";
import { answer, browse, openCanvas } from "./lib.mjs";

const { url, files } = JSON.parse(process.argv[2]);
const TYPES = { mp4: "video/mp4", mov: "video/quicktime" };

await browse(async (browser) => {
  const found = {};
  for (const file of files) {
    const page = await openCanvas(browser, url);
    await page.evaluate(() => window.app.graph.clear());
    const name = file.split(/[\\/]/).pop();
    const transfer = await page.evaluateHandle(async ([name, type, data]) => {
      const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], name, { type }));
      return transfer;
    }, [name, TYPES[name.split(".").pop()], fs.readFileSync(file).toString("base64")]);
    await page.dispatchEvent("#graph-canvas", "drop", { dataTransfer: transfer, clientX: 500, clientY: 400 });
    await page.waitForFunction(() => window.app.graph.nodes.length > 0, null, { timeout: 15000 }).catch(() => {});
    await page.waitForTimeout(500);
    found[name] = await page.evaluate(() => window.app.graph.nodes.map((n) => [n.type, Object.fromEntries((n.widgets ?? []).map((w) => [w.name, w.value]))]));
    await page.close();
  }
  answer(found);
});
