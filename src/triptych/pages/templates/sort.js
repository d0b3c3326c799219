for (const button of document.querySelectorAll("th > button")) {
  button.addEventListener("click", () => {
    const heading = button.parentElement;
    const table = heading.closest("table");
    const body = table.querySelector("tbody.models");
    const down = heading.getAttribute("aria-sort") === "ascending";
    const key = (row) => {
      const cell = row.cells[heading.cellIndex];
      const number = parseFloat(cell.dataset.sort);
      return heading.cellIndex === 0 ? cell.textContent.trim() : number;
    };
    const known = (value) => typeof value === "string" || !Number.isNaN(value);
    const rows = [...body.rows].sort((one, two) => {
      const [a, b] = [key(one), key(two)];
      if (!known(a) || !known(b)) return known(b) - known(a);
      const order = typeof a === "string" ? a.localeCompare(b) : a - b;
      return down ? -order : order;
    });
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows);
  });
}
