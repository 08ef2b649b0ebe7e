for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], given = [...table.tBodies[0].rows];
  const list = table.closest("section").querySelector(".sort-by select");
  const sort = (column, up) => {
    const key = (row) => {
      const cell = row.cells[column];
      return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
    };
    const compare = (a, b) => {
      const x = key(a), y = key(b);
      if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
      const order = typeof x === "number" ? x - y : x.localeCompare(y);
      return up ? order : -order;
    };
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
    table.tBodies[0].append(...given.slice().sort(compare));
  };
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    sort(column, head.getAttribute("aria-sort") !== "ascending");
  }));
  list.addEventListener("change", () => {
    if (list.value !== "") return sort(Number(list.value), !list.selectedOptions[0].textContent.includes("↑"));
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    table.tBodies[0].append(...given);
  });
}
const unfold = () => {
  const fold = document.getElementById(location.hash.slice(1))?.querySelector("details");
  if (fold) fold.open = true;
};
addEventListener("hashchange", unfold);
unfold();
