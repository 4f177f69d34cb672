// Colours that can be read on the host's light and dark palettes (at least 3:1 for lines, 4.5:1 for text).
const DARK = {
  light: false,
  video: "#5c9bff", audio: "#f0a030", "validation video": "#2bc5a9", "validation audio": "#f07ab8", preview: "#c9a6ff", grid: "#4a5056", text: "#c8ccd0",
  cursor: "#9aa3ab",
};
const LIGHT = {
  light: true,
  video: "#1f5fd0", audio: "#8f4e00", "validation video": "#00695c", "validation audio": "#a3246b", preview: "#6a35b8", grid: "#b4b9be", text: "#26292c",
  cursor: "#5a6168",
};

/** Relative luminance (WCAG) of a computed CSS colour; null for one that is mostly transparent or of a form not known here. */
export function luminance(colour) {
  const [, form, inner] = /^(rgba?|color)\((?:srgb )?([^)]+)\)/.exec(colour) ?? [];
  const numbers = inner?.split(/[\s,/]+/).map(Number);
  if (!numbers || numbers[3] < 0.5) return null;
  const whole = form === "color" ? 1 : 255;
  const [r, g, b] = numbers.slice(0, 3).map((v) => v / whole).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** The colours for what lies behind `element`. */
export function paletteOf(element) {
  for (let e = element; e; e = e.parentElement) {
    const value = luminance(getComputedStyle(e).backgroundColor);
    if (value !== null) return value > 0.4 ? LIGHT : DARK;
  }
  return DARK;
}
