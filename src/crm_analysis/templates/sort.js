/* Lets a reader sort a list by any of its columns; unknown values stay last. */
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      const numeric = head.classList.contains("n");
      const order = head.ariaSort === "descending" || (!head.ariaSort && !numeric) ? "ascending" : "descending";
      const sign = order === "ascending" ? 1 : -1;
      const key = row => numeric ? parseFloat(row.cells[at].dataset.v) : row.cells[at].textContent;
      const missing = value => Number.isNaN(value) || value === "–";
      const compare = (a, b) => missing(a) - missing(b) || (missing(a) ? 0 : sign * (numeric ? a - b : a.localeCompare(b, undefined, {numeric: true})));
      for (const other of table.tHead.rows[0].cells) other.ariaSort = null;
      head.ariaSort = order;
      body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
    };
  });
}
