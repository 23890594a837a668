"use strict";
// Fetches this page again and puts what has changed into the one that is open. An element that is still there stays the
// same element, so that focus, selection, scroll position and what is unfolded are kept.
(() => {
  const every = Number(document.documentElement.dataset.refresh) * 1000;
  const byId = (id) => document.getElementById(id);
  const pause = byId("pause");
  let timer = 0;
  let asking = false;
  let paused = false;

  const alike = (old, fresh) =>
    old !== undefined && old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && (old.id ?? "") === (fresh.id ?? "");

  const attributes = (old, fresh) => {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
  };

  const update = (old, fresh) => {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.data = fresh.data;
      return;
    }
    attributes(old, fresh);
    const wanted = [...fresh.childNodes];
    const ids = new Set(wanted.map((child) => child.id).filter(Boolean));
    for (const child of [...old.childNodes]) if (child.id && !ids.has(child.id)) child.remove();
    wanted.forEach((child, place) => {
      const here = old.childNodes[place];
      if (alike(here, child)) return update(here, child);
      const found = child.id ? [...old.childNodes].find((each) => alike(each, child)) : undefined;
      if (found) update(found, child);
      old.insertBefore(found ?? document.importNode(child, true), here ?? null);
    });
    while (old.childNodes.length > wanted.length) old.lastChild.remove();
  };

  const show = (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    const main = page.getElementById("main");
    if (!main) throw new Error("not this page");
    const headline = page.getElementById("headline").textContent.trim();
    const focused = document.activeElement?.id;
    // Only another state of the service is spoken, not every number.
    if (headline !== byId("headline").textContent.trim()) byId("spoken").textContent = headline;
    update(byId("main"), main);
    update(byId("clock"), page.getElementById("clock"));
    document.title = page.title;
    const icon = document.querySelector("link[rel=icon]");
    const fresh = page.querySelector("link[rel=icon]").getAttribute("href");
    if (icon.getAttribute("href") !== fresh) icon.setAttribute("href", fresh);
    if (focused && document.activeElement?.id !== focused) byId(focused)?.focus({ preventScroll: true });
  };

  const refresh = async () => {
    clearTimeout(timer);
    if (asking || paused || document.hidden) return;
    asking = true;
    try {
      const answer = await fetch(location.pathname, { cache: "no-store", signal: AbortSignal.timeout(20000) });
      const text = await answer.text();
      if (!paused) show(text);
      byId("lost").hidden = true;
    } catch {
      byId("lost").hidden = false;
    } finally {
      asking = false;
      if (!paused) timer = setTimeout(refresh, every);
    }
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    byId("every").hidden = paused;
    clearTimeout(timer);
    if (!paused) refresh();
  });
  document.addEventListener("visibilitychange", refresh);
  timer = setTimeout(refresh, every);
})();
