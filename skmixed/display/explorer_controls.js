// The controls of the explorer: they change `state`, and have it drawn.

const MOST_FOUND = 40; // groups in the list of those found: more are not read through
const LOWER = t.labels.map((label) => label.toLowerCase());

// ---- groups ------------------------------------------------------------------------------------

function showChosen() {
  byId("chosen").replaceChildren(...state.slots.flatMap((group, slot) => {
    if (group === null) return [];
    const label = t.labels[group];
    const settings = { type: "button", "aria-label": `Remove ${label}` };
    const button = make("button", settings, swatch(slot), make("span", { title: label }, label), "×");
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
      const settings = { id: `found-${n}`, role: "option", "aria-selected": "false" };
      const item = make("li", settings, t.labels[group]);
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
      const from = active < 0 && step < 0 ? 0 : active, n = shown.length;
      if (n) mark((from + step + n) % n);
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
  const move = (place) => { state.places[number] = Number(place); drawSoon(); };
  if (column.numbers === null) {
    const options = column.texts.map((text, place) => make("option", { value: place }, text));
    const select = make("select", { id }, ...options);
    const element = make("div", { class: "column" }, label, select);
    select.addEventListener("change", () => move(select.value));
    return { element, show: () => (select.value = state.places[number]) };
  }
  const slider = make("input", { id, type: "range", min: 0, max: column.texts.length - 1, step: 1 });
  const output = make("output", { for: id });
  const show = () => {
    const text = column.texts[state.places[number]].replace("-", "−");
    slider.value = state.places[number];
    slider.setAttribute("aria-valuetext", text);
    output.textContent = text;
  };
  slider.addEventListener("input", () => { move(slider.value); show(); });
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
  for (const id of ["columns-section", "curves-section"]) byId(id).hidden = t.moved.length === 0;
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

// ---- the page ------------------------------------------------------------------------------------

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
const effects = t.effect_names.map((name, n) => [n, `effect: ${name}`]);
setUpChoice("ranked", [[-1, "prediction at these values"], ...effects], "effect");
byId("kinds-label").hidden = !t.has_observations;
byId("along-label").hidden = t.moved.length < 2;
byId("with-new").addEventListener("change", (event) => { state.withNew = event.target.checked; drawSoon(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { paint(); draw(); });
paint();
showChosen();
draw();
leaveTabOrder(document.body);
