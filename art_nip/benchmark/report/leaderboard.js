"use strict";

// Rows are sorted at a click on a heading, and filtered by what is chosen above the tables. Without
// this script the page shows all rows, as they were sorted when it was written.

const tables = [...document.querySelectorAll("table.sortable")];
const rowsOf = (table) => [...table.tBodies[0].rows];
const textOf = (element) => element.textContent.trim();

function keyOf(cell) {
  if (cell.dataset.order === undefined) return textOf(cell);
  return cell.dataset.order === "" ? null : Number(cell.dataset.order);
}

function compare(a, b) {
  return typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
}

function sortBy(table, headings, place) {
  const heading = headings[place];
  const rows = rowsOf(table).map((row) => [keyOf(row.cells[place]), row]);
  const known = rows.filter(([key]) => key !== null);
  const before = heading.getAttribute("aria-sort");
  // Numbers begin with the highest, and names with the first of the alphabet.
  const isNumber = known.length > 0 && typeof known[0][0] === "number";
  const descending = before ? before === "ascending" : isNumber;
  const sign = descending ? -1 : 1;
  known.sort(([a], [b]) => sign * compare(a, b));
  // What was not measured stays at the end, whatever the order.
  const unknown = rows.filter(([key]) => key === null);
  table.tBodies[0].append(...[...known, ...unknown].map(([, row]) => row));
  headings.forEach((other) => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

for (const table of tables) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sortBy(table, headings, place));
  });
}

const sections = [...document.querySelectorAll("section[data-threat]")];
const columnOf = (table, name) =>
  [...table.tHead.rows[0].cells].findIndex((heading) => textOf(heading) === name);

// Each filter says whether a row, in its table and section, has a value.
const filters = [
  ...["data set", "ε"].map((name) => ({
    name,
    values: tables.flatMap((table) => {
      const place = columnOf(table, name);
      return place < 0 ? [] : rowsOf(table).map((row) => textOf(row.cells[place]));
    }),
    fits: (value, row, table) => {
      const place = columnOf(table, name);
      return place < 0 || textOf(row.cells[place]) === value;
    },
  })),
  ...["threat", "protocol"].map((name) => ({
    name,
    values: sections.map((section) => section.dataset[name]),
    fits: (value, row, table) => table.closest("section").dataset[name] === value,
  })),
];

const form = document.createElement("form");
form.className = "filters";
form.setAttribute("aria-label", "Show only");
const status = document.createElement("output");
for (const filter of filters) {
  const label = document.createElement("label");
  filter.select = document.createElement("select");
  filter.select.name = filter.name;
  const values = [...new Set(filter.values)].sort(compare);
  filter.select.add(new Option("all", ""));
  values.forEach((value) => filter.select.add(new Option(value, value)));
  label.append(`${filter.name} `, filter.select);
  form.append(label);
}
form.append(status);
form.addEventListener("change", show);
sections[0]?.before(form);

function show() {
  const chosen = filters.filter((filter) => filter.select.value !== "");
  let shown = 0;
  let all = 0;
  for (const section of sections) {
    let inSection = 0;
    for (const table of section.querySelectorAll("table.sortable")) {
      for (const row of rowsOf(table)) {
        row.hidden = !chosen.every(({ fits, select }) => fits(select.value, row, table));
        inSection += row.hidden ? 0 : 1;
        all += 1;
      }
    }
    section.hidden = inSection === 0;
    shown += inSection;
  }
  status.value = `${shown} of ${all} rows`;
}

// Browsers keep what was chosen when a page is loaded again.
show();
