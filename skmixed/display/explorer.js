// What happens when a control of the explorer is moved. Everything that the page shows follows from
// `state`, by `draw`. Labels are put into the page as text, never as HTML.

const t = plain(tables);
const byId = (id) => document.getElementById(id);
const MOST_GROUPS = 6; // as many as there are colours that can be told apart
const MOST_FOUND = 40; // groups in the list of those found: more are not read through
const SAID_AFTER = 500; // milliseconds of rest, lest a screen reader reads out every step of a slider
const DASHES = ["solid", "dashed", "dotted", "dotdash", "dashdot", "solid"];
const STROKES = ["", "5 3", "2 3", "2 3 6 3", "6 3 2 3", ""]; // the same in the table
const LOWER = t.labels.map((label) => label.toLowerCase());

const state = {
  slots: Array.from({ length: MOST_GROUPS }, (_, n) => t.first_shown[n] ?? null), // of groups
  withNew: true,
  places: t.moved.map((column) => column.place),
  along: Math.max(0, t.moved.findIndex((column) => column.numbers !== null)),
  kind: "mean",
  effect: -1, // that groups are ranked by, -1 for the prediction
};

// ---- elements and text -------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function colourOf(slot) {
  return getComputedStyle(document.documentElement).getPropertyValue(slot === null ? "--new" : `--group-${slot + 1}`).trim();
}

// The line that stands for a group in the picture.
function swatch(slot) {
  const name = slot === null ? "--new" : `--group-${slot + 1}`;
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  const settings = { x1: 0, x2: 26, y1: 5, y2: 5, "stroke-width": 4, "stroke-dasharray": slot === null ? "5 3" : STROKES[slot] };
  for (const [key, value] of Object.entries(settings)) line.setAttribute(key, value);
  line.style.stroke = `var(${name})`;
  drawing.setAttribute("class", "swatch");
  drawing.setAttribute("aria-hidden", "true");
  drawing.append(line);
  return drawing;
}

function groupHeader(slot, label) {
  return make("th", { scope: "row" }, make("div", {}, swatch(slot), make("span", { title: label }, label)));
}

// Decimals that tell apart what differs by a thousandth of the least of some widths.
function decimalsFor(widths) {
  const least = Math.min(...widths.filter((width) => width > 0 && Number.isFinite(width)));
  return Number.isFinite(least) ? Math.min(8, Math.max(0, 2 - Math.floor(Math.log10(least)))) : 4;
}

function written(number, decimals, sign = false) {
  if (!Number.isFinite(number)) return "–";
  if (Math.abs(number) >= 1e9) return number.toExponential(3);
  const text = number.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  const isZero = !/[1-9]/.test(text);
  return ((sign && !isZero && number > 0 ? "+" : "") + (isZero ? text.replace("-", "") : text)).replace("-", "−");
}

const kindText = (kind) => (
  kind === "observation" ? "a single observation" : t.is_probability ? "the probability in a group" : "the mean of a group"
);
const percent = `${+(100 * t.level).toFixed(4)}%`;
const intervals = t.quantiles ? "credible intervals" : "intervals";

// ---- what is shown -----------------------------------------------------------------------------

function shownGroups() {
  const shown = state.slots.flatMap((group, slot) => (group === null ? [] : [{ group, slot, label: t.labels[group] }]));
  if (state.withNew) shown.push({ group: NEW, slot: null, label: "new group" });
  return shown;
}

function ranked(at) {
  const n = t.labels.length, k = t.effect_names.length;
  const value = new Float64Array(n), low = new Float64Array(n), high = new Float64Array(n);
  for (let group = 0; group < n; group++) {
    if (state.effect < 0) {
      const own = predicted(t, at, group, "mean");
      [value[group], low[group], high[group]] = [own.value, own.low, own.high];
    } else {
      const place = 2 * (group * k + state.effect), estimate = t.effects[place], half = t.effects[place + 1];
      [value[group], low[group], high[group]] = [estimate, estimate - half, estimate + half];
    }
  }
  const order = Int32Array.from(value.keys()).sort((a, b) => value[a] - value[b]);
  const rank = new Int32Array(n);
  order.forEach((group, place) => (rank[group] = place + 1));
  return { value, low, high, order, rank };
}

function drawRanks(at, shown) {
  const { value, low, high, order, rank } = ranked(at), n = order.length;
  everyone.data = {
    x: Float64Array.from(order.keys(), (place) => place + 1),
    value: Float64Array.from(order, (group) => value[group]),
    low: Float64Array.from(order, (group) => low[group]),
    high: Float64Array.from(order, (group) => high[group]),
    label: Array.from(order, (group) => t.labels[group]),
  };
  const known = shown.filter((each) => each.group !== NEW);
  marked.data = {
    x: known.map((each) => rank[each.group]),
    value: known.map((each) => value[each.group]),
    low: known.map((each) => low[each.group]),
    high: known.map((each) => high[each.group]),
    label: known.map((each) => each.label),
    colour: known.map((each) => colourOf(each.slot)),
  };
  const ofNew = state.effect < 0 ? predicted(t, at, NEW, "mean").value : 0;
  const hasLine = state.withNew && (state.effect < 0 || t.effects_are_deviations);
  level.data = hasLine ? { x: [0.5, n + 0.5], value: [ofNew, ofNew] } : { x: [], value: [] };
  const by = state.effect < 0 ? t.response : `effect of ${t.effect_names[state.effect]}`;
  ranks_figure.left[0].axis_label = by;
  byId("ranks-note").textContent =
    `All ${n.toLocaleString("en")} groups by ${by}, with ${percent} ${intervals}` +
    `${state.effect < 0 ? ` for ${kindText("mean")}` : ""}; the chosen ones in colour` +
    `${hasLine ? ", a new group as the dashed line" : ""}.`;
  return rank;
}

function drawPredictions(found, rank) {
  const isWhole = state.kind === "observation" && t.observed !== null && t.observed.family !== "gamma";
  const decimals = decimalsFor(found.map((each) => each.high - each.low));
  const ends = isWhole ? 0 : decimals;
  const columns = [t.factor, t.response, "lower", "upper", "rank"];
  const rows = found.map((each) => make(
    "tr", {}, groupHeader(each.slot, each.label),
    ...[written(each.value, isWhole ? Math.max(decimals, 1) : decimals), written(each.low, ends), written(each.high, ends),
      each.group === NEW ? "–" : rank[each.group].toLocaleString("en")].map((text) => make("td", {}, text)),
  ));
  const caption = found.length
    ? `${percent} ${intervals} for ${kindText(state.kind)}; ranks among ${t.labels.length.toLocaleString("en")}, from the lowest`
    : "Add a group to see its prediction";
  byId("predictions").replaceChildren(make(
    "table", {}, make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...columns.map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...rows),
  ));
  say(found.map((each) => (
    `${each.label}: ${written(each.value, decimals)}, from ${written(each.low, ends)} to ${written(each.high, ends)}`
  )).join("; "));
}

// From where to where the column of a term has been moved.
function movedBy(name) {
  const number = t.moved.findIndex((column) => column.name === name), column = t.moved[number];
  if (column === undefined || state.places[number] === column.place) return "";
  return `: ${column.texts[column.place]} → ${column.texts[state.places[number]]}`;
}

function drawContributions(at, shown) {
  const usual = row(t, scaledColumns(t, t.moved.map((column) => column.place)));
  const known = shown.filter((each) => each.group !== NEW);
  const found = contributions(t, at, usual, known.map((each) => each.group));
  const parts = [...found.terms.map((term) => term.part), ...found.own];
  const most = Math.max(...parts.map(Math.abs), 1e-300);
  const decimals = decimalsFor([most]);
  const line = (header, part, sum, colour) => {
    const bar = make("div");
    if (part !== null && part !== 0) {
      const width = (50 * Math.abs(part)) / most;
      bar.style.cssText = `width:${width}%;left:${part < 0 ? 50 - width : 50}%;background:${colour}`;
    }
    const cells = [part === null ? "" : written(part, decimals, true), sum === null ? "" : written(sum, decimals)];
    return make("tr", {}, header, make("td", { class: "bar", "aria-hidden": "true" }, bar), ...cells.map((text) => make("td", {}, text)));
  };
  const header = (text) => make("th", { scope: "row" }, text);
  const first = line(header("at the reference values"), null, found.start);
  const total = line(header("an average group"), null, found.total);
  total.className = "total";
  const scale = t.link === "identity" ? "" : `, as ${t.predictor},`;
  byId("contributions").replaceChildren(make(
    "table", {},
    make("caption", {}, `What columns add to the prediction${scale} as they move from their reference values, and what groups add`),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "what"), make("th", { scope: "col", class: "bar", "aria-hidden": "true" }),
      make("th", { scope: "col" }, "adds"), make("th", { scope: "col" }, "makes"))),
    make("tbody", {}, first, ...found.terms.map((term) => line(header(term.name + movedBy(term.name)), term.part, null, "var(--many)")), total,
      ...known.map((each, n) => line(groupHeader(each.slot, each.label), found.own[n], found.total + found.own[n], `var(--group-${each.slot + 1})`))),
  ));
  return found;
}

// Lines with bands over numbers, points with intervals over categories.
function drawCurves(found) {
  const column = t.moved[state.along];
  const curves = { xs: [], ys: [], colour: [], dash: [] }, areas = { xs: [], ys: [], colour: [] };
  const dots = { x: [], value: [], low: [], high: [], label: [], colour: [] };
  const dot = (x, each, own, colour, hasEnds) => {
    dots.x.push(x); dots.value.push(own.value); dots.label.push(each.label); dots.colour.push(colour);
    dots.low.push(hasEnds ? own.low : own.value); dots.high.push(hasEnds ? own.high : own.value);
  };
  const isLine = column !== undefined && column.numbers !== null && column.numbers.length > 1;
  const n = column === undefined ? 0 : column.texts.length;
  const rows = Array.from({ length: n }, (_, place) => (
    row(t, scaledColumns(t, state.places.map((own, number) => (number === state.along ? place : own))))
  ));
  found.forEach((each, number) => {
    const own = rows.map((at) => predicted(t, at, each.group, state.kind)), colour = colourOf(each.slot);
    if (!isLine) {
      const shift = 0.5 * ((number + 0.5) / found.length - 0.5);
      own.forEach((one, place) => dot(place + shift, each, one, colour, true));
      return;
    }
    const x = Array.from(column.numbers);
    curves.xs.push(x); curves.ys.push(own.map((one) => one.value));
    curves.colour.push(colour); curves.dash.push(each.slot === null ? "dashed" : DASHES[each.slot]);
    areas.xs.push([...x, ...[...x].reverse()]); areas.colour.push(colour);
    areas.ys.push([...own.map((one) => one.low), ...own.map((one) => one.high).reverse()]);
    dot(column.numbers[state.places[state.along]], each, each, colour, false);
  });
  if (column !== undefined) setCurveAxis(column, isLine);
  [lines.data, bands.data, points.data] = [curves, areas, dots];
  byId("curves-note").textContent = column === undefined ? "The model has no columns to move." :
    `${t.response} over ${column.name}, other columns as chosen, with ${percent} ${intervals} for ${kindText(state.kind)}.`;
}

function setCurveAxis(column, isLine) {
  const axis = curves_figure.below[0], most = 16;
  const short = column.texts.map((text) => (text.length > most ? text.slice(0, most - 1) + "…" : text));
  const letters = short.join("").length + 2 * short.length;
  curves_figure.left[0].axis_label = t.response;
  axis.axis_label = column.name;
  category_ticker.ticks = short.map((_, place) => place);
  axis.ticker = isLine ? number_ticker : category_ticker;
  axis.major_label_overrides = isLine ? new Map() : new Map(short.map((text, place) => [place, text]));
  axis.major_label_orientation = isLine || letters * 7 < curves_figure.inner_width ? "horizontal" : 0.9;
}

let saying = null;
function say(text) {
  clearTimeout(saying);
  saying = setTimeout(() => (byId("said").textContent = text), SAID_AFTER);
}

function draw() {
  const at = row(t, scaledColumns(t, state.places)), shown = shownGroups();
  const found = shown.map((each) => ({ ...each, ...predicted(t, at, each.group, state.kind) }));
  const rank = drawRanks(at, shown);
  drawPredictions(found, rank);
  drawCurves(found);
  const added = drawContributions(at, shown);
  // For programs that read the page.
  window.explored = {
    kind: state.kind, added,
    label: found.map((each) => each.label), value: found.map((each) => each.value),
    low: found.map((each) => each.low), high: found.map((each) => each.high),
    rank: found.map((each) => (each.group === NEW ? null : rank[each.group])),
  };
}

// Several moves of a slider between two pictures are drawn once.
let isWaiting = false;
function drawSoon() {
  if (isWaiting) return;
  isWaiting = true;
  requestAnimationFrame(() => { isWaiting = false; draw(); });
}

// ---- groups ------------------------------------------------------------------------------------

function showChosen() {
  byId("chosen").replaceChildren(...state.slots.flatMap((group, slot) => {
    if (group === null) return [];
    const label = t.labels[group];
    const button = make("button", { type: "button", "aria-label": `Remove ${label}` }, swatch(slot), make("span", {}, label), "×");
    button.addEventListener("click", () => removeGroup(slot));
    return [make("li", {}, button)];
  }));
}

function removeGroup(slot) {
  const place = state.slots.slice(0, slot).filter((group) => group !== null).length;
  state.slots[slot] = null;
  showChosen();
  const left = byId("chosen").querySelectorAll("button");
  (left[Math.min(place, left.length - 1)] ?? byId("adding")).focus();
  drawSoon();
}

// Returns what there is to say of it.
function addGroup(group) {
  const label = t.labels[group];
  if (state.slots.includes(group)) return `${label} is there already`;
  const slot = state.slots.indexOf(null);
  if (slot < 0) return `${MOST_GROUPS} groups are shown at most: remove one first`;
  state.slots[slot] = group;
  showChosen();
  drawSoon();
  return `${label} is added`;
}

// Groups whose label holds a text, those that begin with it first; all of them for no text.
function matching(text) {
  const part = text.trim().toLowerCase(), starts = [], holds = [];
  LOWER.forEach((label, group) => {
    const place = label.indexOf(part);
    if (place === 0) starts.push(group); else if (place > 0) holds.push(group);
  });
  return [...starts, ...holds];
}

// A combobox whose list the arrows move through, as the ARIA authoring practices describe it.
function setUpSearch() {
  const input = byId("adding"), list = byId("found"), status = byId("matches");
  let shown = [], active = -1;
  const mark = (place) => {
    active = place;
    [...list.children].forEach((item, n) => item.setAttribute("aria-selected", String(n === place)));
    if (place < 0) { input.removeAttribute("aria-activedescendant"); return; }
    input.setAttribute("aria-activedescendant", list.children[place].id);
    list.children[place].scrollIntoView({ block: "nearest" });
  };
  const close = () => {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    mark(-1);
  };
  const take = (place) => {
    status.textContent = addGroup(shown[place]);
    input.value = "";
    close();
  };
  const open = () => {
    const all = matching(input.value);
    shown = all.slice(0, MOST_FOUND);
    list.replaceChildren(...shown.map((group, n) => {
      const item = make("li", { id: `found-${n}`, role: "option", "aria-selected": "false" }, t.labels[group]);
      item.addEventListener("mousedown", (event) => { event.preventDefault(); take(n); });
      return item;
    }));
    list.hidden = shown.length === 0;
    input.setAttribute("aria-expanded", String(!list.hidden));
    const more = all.length > MOST_FOUND ? `, the first ${MOST_FOUND} are listed` : "";
    status.textContent = `${all.length.toLocaleString("en")} found${more}`;
    mark(-1);
  };
  input.addEventListener("input", open);
  input.addEventListener("blur", () => { close(); status.textContent = ""; });
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined) {
      event.preventDefault();
      if (list.hidden) open();
      if (shown.length) mark(active < 0 && step < 0 ? shown.length - 1 : (active + step + shown.length) % shown.length);
    } else if (event.key === "Enter" && !list.hidden) {
      event.preventDefault();
      take(Math.max(active, 0));
    } else if (event.key === "Escape") {
      if (list.hidden) input.value = "";
      close();
      status.textContent = "";
    }
  });
}

// ---- columns and choices -----------------------------------------------------------------------

function columnControl(column, number) {
  const id = `column-${number}`, label = make("label", { for: id }, column.name);
  if (column.numbers === null) {
    const select = make("select", { id }, ...column.texts.map((text, place) => make("option", { value: place }, text)));
    select.addEventListener("change", () => { state.places[number] = Number(select.value); drawSoon(); });
    return { element: make("div", { class: "column" }, label, select), show: () => (select.value = state.places[number]) };
  }
  const slider = make("input", { id, type: "range", min: 0, max: column.texts.length - 1, step: 1 });
  const output = make("output", { for: id });
  const show = () => {
    const text = column.texts[state.places[number]].replace("-", "−");
    slider.value = state.places[number];
    slider.setAttribute("aria-valuetext", text);
    output.textContent = text;
  };
  slider.addEventListener("input", () => { state.places[number] = Number(slider.value); show(); drawSoon(); });
  return { element: make("div", { class: "column" }, output, label, slider), show };
}

function setUpColumns() {
  const controls = t.moved.map(columnControl), show = () => controls.forEach((each) => each.show());
  byId("columns").replaceChildren(...controls.map((each) => each.element));
  byId("reset").addEventListener("click", () => {
    state.places = t.moved.map((column) => column.place);
    show();
    drawSoon();
  });
  byId("reset").hidden = t.moved.length === 0;
  show();
}

// A list to choose from, (value, text) each, that sets a field of the state.
function setUpChoice(id, options, field) {
  const select = byId(id), isText = typeof state[field] === "string";
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
  select.value = state[field];
  select.addEventListener("change", () => {
    state[field] = isText ? select.value : Number(select.value);
    drawSoon();
  });
}

// ---- light and dark ----------------------------------------------------------------------------

function paint() {
  const style = getComputedStyle(document.documentElement);
  const [ink, line, paper, faint] = ["--ink", "--line", "--paper", "--many"].map((name) => style.getPropertyValue(name).trim());
  for (const figure of [curves_figure, ranks_figure]) {
    figure.setv({ background_fill_color: paper, border_fill_color: paper, outline_line_color: line });
    for (const axis of [figure.below[0], figure.left[0]]) {
      axis.setv({
        axis_label_text_color: ink, major_label_text_color: ink, axis_line_color: faint, major_tick_line_color: faint,
        minor_tick_line_color: null, axis_label_text_font_size: "14px", major_label_text_font_size: "13px", axis_label_text_font_style: "normal",
      });
    }
    for (const grid of figure.center) grid.grid_line_color = line;
  }
  for (const glyph of faint_glyphs) {
    if ("line_color" in glyph) glyph.line_color = faint;
    if ("fill_color" in glyph) glyph.fill_color = faint;
  }
  level_glyph.line_color = ink;
}

// Bokeh's canvases take the focus and do nothing with it: what is in them is in the tables, too.
function leaveTabOrder(root) {
  for (const element of root.querySelectorAll("*")) {
    if (!element.shadowRoot) continue;
    leaveTabOrder(element.shadowRoot);
    for (const each of element.shadowRoot.querySelectorAll("[tabindex]")) each.tabIndex = -1;
  }
}

setUpSearch();
setUpColumns();
setUpChoice("kinds", [["mean", kindText("mean")], ["observation", kindText("observation")]], "kind");
setUpChoice("along", t.moved.map((column, number) => [number, column.name]), "along");
setUpChoice("ranked", [[-1, "prediction at these values"], ...t.effect_names.map((name, n) => [n, `effect: ${name}`])], "effect");
byId("kinds-label").hidden = !t.has_observations;
byId("along-label").hidden = t.moved.length < 2;
byId("with-new").addEventListener("change", (event) => { state.withNew = event.target.checked; drawSoon(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { paint(); draw(); });
paint();
showChosen();
draw();
leaveTabOrder(document.body);
