// The labelled video of Validate, in a loop; a grid of many rows has several pages.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { addPanel, fit, make } from "./dom.js";
import { t } from "./strings.js";

const HEIGHT = 240;
const STILL = "$$canvas-image-preview"; // the host's own widget

export class Grid {
  constructor(node) {
    this.node = node;
    this.element = make("section", { class: "ltx2-panel ltx2-grid", "aria-label": t("grid") }, make("p", { class: "ltx2-status" }, t("no_grid")));
    addPanel(node, "ltx2_grid", this.element, () => HEIGHT);
  }

  /** pages: the host's own references to files, [{ filename, subfolder, type }] */
  show(pages) {
    this.pages = pages;
    this.turn(0);
    this.dropStill();
    fit(this.node);
  }

  /** The picture of the last clip that was made would stay beneath. */
  dropStill() {
    app.revokePreviews?.(String(this.node.id));
    delete app.nodePreviewImages?.[this.node.id];
    const at = this.node.widgets.findIndex((w) => w.name === STILL);
    if (at < 0) return;
    this.node.widgets[at].onRemove?.();
    this.node.widgets.splice(at, 1);
    this.node.imgs = undefined;
    this.node.imageIndex = null;
  }

  turn(page) {
    const label = this.pages.length > 1 ? t("page_of", { page: page + 1, count: this.pages.length }) : t("grid");
    const { filename, subfolder, type } = this.pages[page];
    // The name stays the same when clips are made anew.
    const query = new URLSearchParams({ filename, subfolder, type, shown: Date.now() });
    const film = make("video", { src: api.apiURL(`/view?${query}`), loop: "", playsinline: "", controls: "", "aria-label": label });
    film.muted = true;
    film.autoplay = !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    const place = make("p", { class: "ltx2-status", role: "status" }, `${label} · ${subfolder}/${filename}`);
    const bar = make("div", { class: "ltx2-buttons" }, this.button("previous", page - 1), this.button("next", page + 1));
    this.element.replaceChildren(place, film, ...(this.pages.length > 1 ? [bar] : []));
  }

  button(name, page) {
    const button = make("button", { type: "button", class: "ltx2-button" }, t(name));
    button.disabled = page < 0 || page >= this.pages.length;
    button.addEventListener("click", () => this.turn(page));
    return button;
  }
}
