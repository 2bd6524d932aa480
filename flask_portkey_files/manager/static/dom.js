// The page's elements. What comes from a provider becomes text or an attribute, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** Return the element with this id. */
export const $ = (id) => document.getElementById(id);

/** Return a new element with these properties, and children that are nodes or text. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Return a drawing of the page's sprite. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** Return a button that shows an icon and is named by its label. */
export function iconButton(name, label, onclick, className = "") {
  const properties = { type: "button", className: `quiet round ${className}`, onclick };
  return make("button", { ...properties, title: label, "aria-label": label }, icon(name));
}

/** Put these [value, text] pairs into a select, and keep its value if it is among them. */
export function setOptions(select, options) {
  const value = select.value;
  select.replaceChildren(
    ...options.map(([value, text]) => make("option", { value, textContent: text })),
  );
  if (options.some(([known]) => known === value)) select.value = value;
}

/** Have a screen reader say it. */
export function say(text) {
  const said = $("said");
  // The same words twice are said twice only if the region was empty in between.
  said.textContent = "";
  setTimeout(() => (said.textContent = text), 50);
}
