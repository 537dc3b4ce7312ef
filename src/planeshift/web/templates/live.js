"use strict";
const main = document.querySelector("main");
const lost = document.querySelector(".lost");
const source = new EventSource("/live?page=" + encodeURIComponent(location.pathname));

// Only what differs is touched, so that a selection, a scrolled table or a click under way is not lost.
function patch(old, next) {
  if (old.isEqualNode(next)) return;
  if (old.nodeType !== Node.ELEMENT_NODE || old.nodeName !== next.nodeName) {
    old.replaceWith(next);
    return;
  }
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const [before, after] = [[...old.childNodes], [...next.childNodes]];
  after.forEach((child, at) => (at < before.length ? patch(before[at], child) : old.append(child)));
  before.slice(after.length).forEach((child) => child.remove());
}

source.onmessage = (event) => {
  const next = document.createElement("main");
  next.innerHTML = JSON.parse(event.data);
  lost.hidden = true;
  patch(main, next);
};
source.onopen = () => { lost.hidden = true; };
source.onerror = () => { lost.hidden = false; };
source.addEventListener("over", () => source.close());
