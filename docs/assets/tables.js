// On a phone each row of a table becomes a block. Its cells are then named by their column.
document.querySelectorAll(".md-typeset table:not([class])").forEach((table) => {
  const heads = [...table.querySelectorAll("thead th")].map((head) => head.textContent.trim());
  table.querySelectorAll("tbody tr").forEach((row) => {
    [...row.cells].forEach((cell, column) => {
      if (column > 0 && heads[column]) cell.dataset.head = heads[column];
    });
  });
});
