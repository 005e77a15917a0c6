// Which page an address shows (`#/suite/row`), and light or dark.
"use strict";

(() => {
  const { h, homePage, suitePage, rowPage, comparePage, readAddress } = robuststack;
  const main = document.getElementById("main");
  const jump = document.getElementById("jump");
  const toggle = document.getElementById("theme");
  const boards = robuststack.boards;
  let page = { redraw: () => {}, leave: () => {} };

  const show = (opened) => {
    const [name, id, ...pair] = readAddress().path;
    const board = boards.find((candidate) => candidate.name === name);
    const row = board?.rows.find((candidate) => candidate.site.id === id);
    const [first, second] = id === "compare" ? pair.map((part) => board?.rows.find((candidate) => candidate.site.id === part)) : [];
    page.leave();
    if (pair.length === 2 && first && second && first !== second && first.site.heading === second.site.heading) page = comparePage(board, first, second, main);
    else if (row) page = rowPage(board, row, main);
    else if (board && !id) page = suitePage(board, main);
    else if (!name) page = homePage(boards, main);
    else {
      page = { redraw: () => {}, leave: () => {} };
      main.replaceChildren(h("div", { class: "title" }, h("h1", {}, "Not here"), h("p", { class: "lead" }, `There is no ${[name, id, ...pair].filter(Boolean).join("/")} in these leaderboards. `, h("a", { href: "#/" }, "All leaderboards"))));
    }
    main.dataset.address = location.hash;  // What is shown now.
    jump.value = board?.name ?? "";
    document.title = [row?.label, board?.title, "RobustStack leaderboard"].filter(Boolean).join(" · ");
    if (opened) return;
    scrollTo(0, 0);
    main.focus({ preventScroll: true });  // A new page: a screen reader goes on from its beginning.
  };

  const stored = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
                   set: (name) => { try { localStorage.setItem("theme", name); } catch { /* Not kept, then. */ } } };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = (name) => {
    document.documentElement.dataset.theme = name;
    toggle.textContent = name === "dark" ? "Light" : "Dark";
    toggle.setAttribute("aria-label", `Switch to the ${name === "dark" ? "light" : "dark"} theme`);
  };

  theme(stored.get() ?? (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => { if (!stored.get()) theme(dark.matches ? "dark" : "light"); });
  toggle.addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    theme(next);
    stored.set(next);
  });
  document.querySelector("[data-skip]").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
  jump.append(h("option", { value: "" }, "all leaderboards"), ...boards.map((board) => h("option", { value: board.name }, board.title)));
  jump.addEventListener("change", () => { location.hash = `#/${jump.value}`; });
  addEventListener("hashchange", () => show(false));
  let width = innerWidth;
  addEventListener("resize", () => { if (Math.abs(innerWidth - width) > 20) { width = innerWidth; page.redraw(); } });
  show(true);
})();
