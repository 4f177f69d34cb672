// Findings of a check as a list, the gravest first, each with its severity as a word and as a colour.
import { addPanel, make } from "./dom.js";
import { said, t } from "./strings.js";

const ORDER = ["error", "warning", "info", "ok"];
const HEIGHT = 150;

const severity = (finding) => (ORDER.includes(finding.severity) ? finding.severity : "info");

export class Findings {
  constructor(node) {
    this.element = make("section", { class: "ltx2-panel ltx2-findings", "aria-label": t("findings") }, make("p", { class: "ltx2-status" }, t("unchecked")));
    addPanel(node, "ltx2_findings", this.element, () => HEIGHT);
  }

  /** findings: [{ severity: error | warning | info | ok, text, advice?, said? }] */
  show(findings) {
    const sorted = [...findings].sort((a, b) => ORDER.indexOf(severity(a)) - ORDER.indexOf(severity(b)));
    const rows = sorted.map((f) =>
      make("li", { class: `ltx2-${severity(f)}` }, make("b", {}, t(severity(f))), ` ${said(f)}`, ...(f.advice ? [make("span", { class: "ltx2-advice" }, ` ${said(f, "advice")}`)] : [])));
    this.element.replaceChildren(rows.length ? make("ul", { tabindex: "0" }, ...rows) : make("p", {}, t("no_findings")));
  }
}

export const isFindings = (value) => Array.isArray(value) && value.every((f) => typeof f?.text === "string");
