// Charts of the last minute, drawn on canvases. The latest sample is at the right edge.

const SAMPLES = 240;
const LEFT = 46;
const BOTTOM = 18;
const TOP = 8;

const style = () => getComputedStyle(document.documentElement);
const color = (name) => style().getPropertyValue(`--${name}`).trim();

/** The smallest of 2, 4, 10, 20, 40, 100 … that is at least `value`: a scale's top, whose half is whole. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [2, 4, 10].map((step) => step * power).find((step) => step >= value) ?? 20 * power;
}

/** Makes the canvas as fine as the screen, empties it, and returns how to draw on it. */
function begin(canvas) {
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "11px system-ui, sans-serif";
  const x = (place) => LEFT + ((width - LEFT) * place) / (SAMPLES - 1);
  return { pen, width, height, x };
}

function grid({ pen, width, height }, lines, tickSeconds) {
  pen.textBaseline = "middle";
  for (const { at, text } of lines) {
    pen.strokeStyle = color("line");
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(LEFT, Math.round(at) + 0.5);
    pen.lineTo(width, Math.round(at) + 0.5);
    pen.stroke();
    pen.fillStyle = color("dim");
    pen.textAlign = "right";
    pen.fillText(text, LEFT - 6, at);
  }
  pen.textBaseline = "alphabetic";
  pen.textAlign = "left";
  pen.fillText(`${Math.round(SAMPLES * tickSeconds)} s ago`, LEFT, height - 4);
  pen.textAlign = "right";
  pen.fillText("now", width, height - 4);
}

/**
 * Bars of a sample each, one series on top of the other: `series` are [colour, function of a sample], and
 * `per` is what their values are divided by.
 */
export function stacked(canvas, samples, series, tickSeconds, per) {
  const frame = begin(canvas);
  const { pen, height, x } = frame;
  const rates = samples.map((sample) => series.map(([, of]) => of(sample) / per));
  const top = nice(Math.max(4, ...rates.map((all) => all.reduce((sum, rate) => sum + rate, 0))));
  const y = (rate) => height - BOTTOM - ((height - BOTTOM - TOP) * rate) / top;
  const lines = [0, 0.5, 1].map((share) => ({ at: y(share * top), text: String(share * top) }));
  grid(frame, lines, tickSeconds);
  const first = SAMPLES - samples.length;
  const floor = samples.map(() => 0);
  series.forEach(([name], index) => {
    pen.fillStyle = color(name);
    const tops = rates.map((all, place) => floor[place] + all[index]);
    pen.beginPath();
    const width = x(1) - x(0) + 0.5;
    tops.forEach((value, place) => {
      if (value > floor[place]) {
        pen.rect(x(first + place) - width, y(value), width, y(floor[place]) - y(value));
      }
      floor[place] = value;
    });
    pen.fill();
  });
}

/** Lines of times on a logarithmic scale, from 10 µs to 10 s. Zero is no time, and a gap. */
export function times(canvas, samples, series, tickSeconds) {
  const frame = begin(canvas);
  const { pen, height, x } = frame;
  const [least, most] = [1, 7];
  const y = (us) => {
    const share = (Math.log10(us) - least) / (most - least);
    return height - BOTTOM - (height - BOTTOM - TOP) * Math.min(1, Math.max(0, share));
  };
  const marks = [[10, "10 µs"], [100, "100 µs"], [1e3, "1 ms"], [1e4, "10 ms"], [1e5, "100 ms"], [1e6, "1 s"], [1e7, "10 s"]];
  grid(frame, marks.map(([us, text]) => ({ at: y(us), text })), tickSeconds);
  const first = SAMPLES - samples.length;
  for (const [name, of] of series) {
    pen.strokeStyle = color(name);
    pen.lineWidth = 1.6;
    pen.lineJoin = "round";
    pen.beginPath();
    let drawing = false;
    samples.forEach((sample, place) => {
      const us = of(sample);
      if (us > 0) {
        const at = [x(first + place), y(us)];
        if (drawing) pen.lineTo(...at);
        else pen.moveTo(...at);
      }
      drawing = us > 0;
    });
    pen.stroke();
  }
}
