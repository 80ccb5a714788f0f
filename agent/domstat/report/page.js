"use strict";
(() => {
  const PRINTED_PX = 680; // as wide as an A4 page within its margins
  const specs = JSON.parse(document.getElementById("charts").textContent);
  const places = [...document.querySelectorAll("[data-chart]")];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const print = matchMedia("print");

  // Colours are the style sheet's, as it has them now: only where plotly expects a colour, never in a text.
  const coloured = (value, isColour, style) => {
    if (typeof value === "string") {
      const name = isColour && /^var\((--[a-z-]+)\)$/.exec(value);
      return name ? style.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((one) => coloured(one, isColour, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, one]) => [key, coloured(one, isColour || /color(scale)?$/.test(key), style)]),
    );
  };

  const draw = (width) => {
    const style = getComputedStyle(document.documentElement);
    const family = getComputedStyle(document.body).fontFamily;
    const drawn = places.map((place) => {
      const { data, layout } = coloured(specs[place.dataset.chart], false, style);
      layout.font.family = family;
      layout.autosize = !width;
      if (width) layout.width = width;
      return Plotly.react(place, data, layout, { displayModeBar: false, responsive: !width });
    });
    return Promise.all(drawn);
  };

  // A page is laid out for paper before a chart could measure it.
  addEventListener("beforeprint", () => draw(PRINTED_PX));
  addEventListener("afterprint", () => draw());
  print.addEventListener("change", () => draw(print.matches ? PRINTED_PX : undefined));
  dark.addEventListener("change", () => draw());

  // Where nothing can be pointed with, touching a number says how it came about.
  const how = document.getElementById("how");
  document.addEventListener("click", (event) => {
    const told = event.target.closest("[title]");
    how.textContent = told ? told.title : "";
    how.hidden = !told;
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") how.hidden = true;
  });

  draw().then(() => { document.documentElement.dataset.drawn = places.length; });
})();
