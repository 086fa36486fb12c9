// What the explorer shows: all of it follows from `state`, by `draw`. Labels are put into the page as
// text, never as HTML.

const t = plain(tables);
const byId = (id) => document.getElementById(id);
const MOST_GROUPS = 6; // as many as there are colours that can be told apart
const SAID_AFTER = 500; // milliseconds of rest, lest a screen reader reads out every step of a slider
const DASHES = ["solid", "dashed", "dotted", "dotdash", "dashdot", "solid"];
const STROKES = ["", "5 3", "2 3", "2 3 6 3", "6 3 2 3", ""]; // the same in the table

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

// Colours are properties of the style sheet, which has them for light and dark screens.
const colourName = (slot) => (slot === null ? "--new" : `--group-${slot + 1}`);

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const colourOf = (slot) => colour(colourName(slot));

// The line that stands for a group in the picture.
function swatch(slot) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  const dashes = slot === null ? "5 3" : STROKES[slot];
  const settings = { x1: 0, x2: 26, y1: 5, y2: 5, "stroke-width": 4, "stroke-dasharray": dashes };
  for (const [key, value] of Object.entries(settings)) line.setAttribute(key, value);
  line.style.stroke = `var(${colourName(slot)})`;
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

function written(number, decimals) {
  if (!Number.isFinite(number)) return "–";
  if (Math.abs(number) >= 1e9) return number.toExponential(3);
  const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  const text = number.toLocaleString("en", digits);
  return /[1-9]/.test(text) ? text.replace("-", "−") : text.replace("-", "");
}

// With a sign, as what is added.
function added(number, decimals) {
  const text = written(number, decimals);
  return number > 0 && /[1-9]/.test(text) ? `+${text}` : text;
}

function kindText(kind) {
  if (kind === "observation") return "a single observation";
  return t.is_probability ? "the probability in a group" : "the mean of a group";
}
const percent = `${+(100 * t.level).toFixed(4)}%`;
const intervals = t.quantiles ? "credible intervals" : "intervals";

const rankedBy = () => (state.effect < 0 ? t.response : `effect of ${t.effect_names[state.effect]}`);

// ---- what is shown -----------------------------------------------------------------------------

function shownGroups() {
  const shown = state.slots
    .map((group, slot) => ({ group, slot, label: t.labels[group] }))
    .filter((each) => each.group !== null);
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
  const by = rankedBy();
  ranks_figure.left[0].axis_label = by;
  const all = n === 1 ? "The only group" : `All ${n.toLocaleString("en")} groups`;
  const kind = state.effect < 0 ? ` for ${kindText("mean")}` : "";
  const line = hasLine ? ", a new group as the dashed line" : "";
  byId("ranks-note").textContent =
    `${all} by ${by}, with ${percent} ${intervals}${kind}; the chosen ones in colour${line}.`;
  return rank;
}

function tableOf(caption, head, rows) {
  return make(
    "table", {}, make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows),
  );
}

const columnHeader = (text) => make("th", { scope: "col" }, text);
const cell = (text) => make("td", {}, text);

function drawPredictions(found, rank) {
  const isCount = state.kind === "observation" && t.observed !== null && t.observed.family !== "gamma";
  const decimals = decimalsFor(found.map((each) => each.high - each.low));
  const texts = found.map((each) => [
    written(each.value, isCount ? Math.max(decimals, 1) : decimals),
    ...[each.low, each.high].map((end) => written(end, isCount ? 0 : decimals)),
    each.group === NEW ? "–" : rank[each.group].toLocaleString("en"),
  ]);
  const caption = found.length
    ? `${percent} ${intervals} for ${kindText(state.kind)}; ranks by ${rankedBy()}, from the lowest to ` +
      t.labels.length.toLocaleString("en")
    : "Add a group to see its prediction.";
  byId("predictions").replaceChildren(tableOf(
    caption,
    [t.factor, t.response, "lower", "upper", "rank"].map(columnHeader),
    found.map((each, n) => make("tr", {}, groupHeader(each.slot, each.label), ...texts[n].map(cell))),
  ));
  say(found.map((each, n) => (
    `${each.label}: ${texts[n][0]}, from ${texts[n][1]} to ${texts[n][2]}`
  )).join("; "));
}

// From where to where the column of a term has been moved.
function movedBy(name) {
  const number = t.moved.findIndex((column) => column.name === name), column = t.moved[number];
  if (column === undefined || state.places[number] === column.place) return "";
  return `: ${column.texts[column.place]} → ${column.texts[state.places[number]]}`;
}

// A bar from the middle of its cell, of a share between -1 and 1.
function barCell(share, colour) {
  const bar = make("div"), width = 50 * Math.abs(share);
  if (Math.abs(share) > 1e-6) bar.style.cssText = `width:${width}%;left:${share < 0 ? 50 - width : 50}%;background:${colour}`;
  return make("td", { class: "bar", "aria-hidden": "true" }, bar);
}

function drawContributions(at, shown) {
  const usual = row(t, scaledColumns(t, t.moved.map((column) => column.place)));
  const known = shown.filter((each) => each.group !== NEW);
  const found = contributions(t, at, usual, known.map((each) => each.group));
  const parts = [...found.terms.map((term) => term.part), ...found.own].map(Math.abs);
  const most = Math.max(...parts, 1e-9 * Math.abs(found.total), 1e-300); // rounding has no bar
  const decimals = decimalsFor([Math.max(most, Math.abs(found.total) / 10)]);
  const header = (text) => make("th", { scope: "row" }, text);
  const sumRow = (text, sum) => make(
    "tr", {}, header(text), barCell(0), cell(""), cell(written(sum, decimals)),
  );
  const partRow = (head, part, colour, sum) => make(
    "tr", {}, head, barCell(part / most, colour), cell(added(part, decimals)), cell(sum),
  );
  const total = sumRow("an average group", found.total);
  total.className = "total";
  byId("contributions").replaceChildren(tableOf(
    `Contributions${t.link === "identity" ? "" : ` to ${t.predictor}`} of columns, as they move from ` +
      "their reference values, and of groups",
    [
      columnHeader("contribution of"), make("th", { class: "bar", "aria-hidden": "true" }),
      ...["adds", "sum"].map(columnHeader),
    ],
    [
      sumRow("at the reference values", found.start),
      ...found.terms.map(({ name, part }) => partRow(header(name + movedBy(name)), part, "var(--many)", "")),
      total,
      ...known.map(({ slot, label }, n) => partRow(
        groupHeader(slot, label), found.own[n], `var(${colourName(slot)})`,
        written(found.total + found.own[n], decimals),
      )),
    ],
  ));
  return found;
}

// Lines with bands over numbers, points with intervals over categories.
function drawCurves(found) {
  const column = t.moved[state.along];
  const curves = { xs: [], ys: [], colour: [], dash: [] }, areas = { xs: [], ys: [], colour: [] };
  const dots = { x: [], value: [], low: [], high: [], label: [], colour: [] };
  const dot = (x, each, own, colour, hasEnds) => {
    const ends = hasEnds ? own : { low: own.value, high: own.value };
    const one = { x, label: each.label, colour, value: own.value, low: ends.low, high: ends.high };
    for (const [name, value] of Object.entries(one)) dots[name].push(value);
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
  byId("curves-note").textContent = column === undefined ? "" :
    `${t.response} over ${column.name}, other columns as chosen, with ${percent} ${intervals} for ` +
    `${kindText(state.kind)}.`;
}

const shortened = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

function setCurveAxis(column, isLine) {
  const axis = curves_figure.below[0];
  const short = column.texts.map((text) => shortened(text, 16));
  const letters = short.join("").length + 2 * short.length;
  curves_figure.left[0].axis_label = t.response;
  axis.axis_label = shortened(column.name, 40);
  number_ticker.desired_num_ticks = curves_figure.inner_width < 500 ? 4 : 6;
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
  const made = drawContributions(at, shown);
  // For programs that read the page.
  window.explored = {
    kind: state.kind, made,
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

// ---- light and dark ----------------------------------------------------------------------------

function paint() {
  const [ink, line, paper, many] = ["--ink", "--line", "--paper", "--many"].map(colour);
  for (const figure of [curves_figure, ranks_figure]) {
    figure.setv({ background_fill_color: paper, border_fill_color: paper, outline_line_color: line });
    for (const axis of [figure.below[0], figure.left[0]]) {
      axis.setv({
        axis_line_color: many, major_tick_line_color: many, minor_tick_line_color: null,
        major_label_text_color: ink, major_label_text_font_size: "13px",
        axis_label_text_color: ink, axis_label_text_font_size: "14px", axis_label_text_font_style: "normal",
      });
    }
    for (const grid of figure.center) grid.grid_line_color = line;
  }
  for (const glyph of faint_glyphs) {
    if ("line_color" in glyph) glyph.line_color = many;
    if ("fill_color" in glyph) glyph.fill_color = many;
  }
  level_glyph.line_color = ink;
}
