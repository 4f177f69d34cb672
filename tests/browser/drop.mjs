// Drops files on the canvas, and says what graph is there after each. Arguments: { url, files }.
import { answer, browse, drop, openCanvas } from "./lib.mjs";

const { url, files } = JSON.parse(process.argv[2]);

await browse(async (browser) => {
  const page = await openCanvas(browser, url);
  const found = [];
  for (const file of files) found.push(await drop(page, file));
  answer({ found });
});
