// Shows values under the pointer or, with the arrow keys, at a chosen step; opens everything for printing.
// The page is complete without it.
(function () {
  "use strict";
  var tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  document.body.appendChild(tip);

  function show(svg, lines, index) {
    var first = lines[0];
    index = Math.max(0, Math.min(first.x.length - 1, index));
    svg.dataset.index = String(index);
    var x = first.x[index];
    var cursor = svg.querySelector(".cursor");
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.style.visibility = "visible";
    var text = "step " + first.step[index];
    lines.forEach(function (line) {
      if (index < line.value.length) {
        text += "\n" + (lines.length > 1 ? line.name + ": " : "") + line.value[index];
      }
    });
    tip.textContent = text + (svg.dataset.unit && svg.dataset.unit !== "%" ? " " + svg.dataset.unit : "");
    tip.hidden = false;
    var box = svg.getBoundingClientRect();
    var at = box.left + (x / svg.viewBox.baseVal.width) * box.width;
    var left = Math.min(Math.max(4, at + 10), document.documentElement.clientWidth - tip.offsetWidth - 4);
    tip.style.left = left + window.scrollX + "px";
    tip.style.top = box.top + window.scrollY + 8 + "px";
  }

  function hide(svg) {
    svg.querySelector(".cursor").style.visibility = "hidden";
    tip.hidden = true;
  }

  document.querySelectorAll("svg[data-hover]").forEach(function (svg) {
    var lines = JSON.parse(svg.dataset.hover);
    svg.setAttribute("tabindex", "0");
    svg.addEventListener("pointermove", function (event) {
      var box = svg.getBoundingClientRect();
      var x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      var best = 0;
      lines[0].x.forEach(function (at, index) {
        if (Math.abs(at - x) < Math.abs(lines[0].x[best] - x)) best = index;
      });
      show(svg, lines, best);
    });
    svg.addEventListener("pointerleave", function () { hide(svg); });
    svg.addEventListener("blur", function () { hide(svg); });
    svg.addEventListener("keydown", function (event) {
      var move = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }[event.key];
      if (event.key === "Escape") hide(svg);
      if (move === undefined) return;
      event.preventDefault();
      var now = svg.dataset.index === undefined ? lines[0].x.length - 1 : Number(svg.dataset.index);
      show(svg, lines, now + move);
    });
  });

  document.querySelectorAll("input[data-filter]").forEach(function (input) {
    var section = document.getElementById(input.dataset.filter);
    var items = section.querySelectorAll("details.question");
    var counted = section.querySelector("[data-count]");
    function filter() {
      var wanted = input.value.toLowerCase();
      var shown = 0;
      items.forEach(function (item) {
        item.hidden = wanted !== "" && item.textContent.toLowerCase().indexOf(wanted) < 0;
        shown += item.hidden ? 0 : 1;
      });
      counted.textContent = shown + " of " + items.length;
    }
    input.closest("p").hidden = false;
    input.addEventListener("input", filter);
    filter();
  });

  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details:not([open])").forEach(function (item) {
      item.open = true;
      item.dataset.closed = "";
    });
  });
  window.addEventListener("afterprint", function () {
    document.querySelectorAll("details[data-closed]").forEach(function (item) {
      item.open = false;
      delete item.dataset.closed;
    });
  });
})();
