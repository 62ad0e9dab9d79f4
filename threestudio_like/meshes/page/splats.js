// 3D Gaussians to turn: sorted by depth and blended front to back on the processor, which every
// browser has. No libraries, no network.
(function () {
  "use strict";

  // Light of n Gaussians that reaches a camera, premultiplied: Float32Array of width * height * 4.
  // cloud: positions (3 n), covariances (6 n: xx xy xz yy yz zz), colours (4 n bytes, the last the
  // opacity). camera: rows right, up, back and eye (3 each), and focal length in pixels.
  function draw(cloud, camera, width, height) {
    const n = cloud.colours.length / 4, p = cloud.positions, c = cloud.covariances;
    const r = camera.right, u = camera.up, b = camera.back, e = camera.eye, f = camera.focal;
    const order = [], depth = new Float32Array(n);
    for (let i = 0; i < n; i++) {
      const x = p[3 * i] - e[0], y = p[3 * i + 1] - e[1], z = p[3 * i + 2] - e[2];
      depth[i] = -(b[0] * x + b[1] * y + b[2] * z);
      if (depth[i] > 0.1) order.push(i);
    }
    order.sort((one, two) => depth[one] - depth[two] || one - two);
    const light = new Float32Array(4 * width * height), clear = new Float32Array(width * height).fill(1);
    const limitX = 1.3 * 0.5 * width / f, limitY = 1.3 * 0.5 * height / f;
    for (const i of order) {
      const opacity = cloud.colours[4 * i + 3] / 255, z = depth[i];
      const within = 2 * Math.log(255 * opacity);
      if (!(within > 0)) continue;
      const x = p[3 * i] - e[0], y = p[3 * i + 1] - e[1], w = p[3 * i + 2] - e[2];
      const px = (r[0] * x + r[1] * y + r[2] * w) / z, py = (u[0] * x + u[1] * y + u[2] * w) / z;
      const sx = Math.max(-limitX, Math.min(limitX, px)), sy = Math.max(-limitY, Math.min(limitY, py));
      // Two rows of the projection's derivative, in the world.
      const s = f / z, a0 = s * (r[0] + sx * b[0]), a1 = s * (r[1] + sx * b[1]), a2 = s * (r[2] + sx * b[2]);
      const b0 = -s * (u[0] + sy * b[0]), b1 = -s * (u[1] + sy * b[1]), b2 = -s * (u[2] + sy * b[2]);
      const k = 6 * i, q0 = c[k] * a0 + c[k + 1] * a1 + c[k + 2] * a2;
      const q1 = c[k + 1] * a0 + c[k + 3] * a1 + c[k + 4] * a2, q2 = c[k + 2] * a0 + c[k + 4] * a1 + c[k + 5] * a2;
      const xx = a0 * q0 + a1 * q1 + a2 * q2 + 0.3, xy = b0 * q0 + b1 * q1 + b2 * q2;
      const yy = b0 * (c[k] * b0 + c[k + 1] * b1 + c[k + 2] * b2) + b1 * (c[k + 1] * b0 + c[k + 3] * b1 + c[k + 4] * b2)
        + b2 * (c[k + 2] * b0 + c[k + 4] * b1 + c[k + 5] * b2) + 0.3;
      const area = xx * yy - xy * xy, ca = yy / area, cb = -xy / area, cc = xx / area;
      const mx = width / 2 + f * px, my = height / 2 - f * py;
      const wide = Math.sqrt(within * xx), high = Math.sqrt(within * yy);
      const left = Math.max(0, Math.floor(mx - wide)), right = Math.min(width - 1, Math.ceil(mx + wide));
      const top = Math.max(0, Math.floor(my - high)), low = Math.min(height - 1, Math.ceil(my + high));
      const red = cloud.colours[4 * i] / 255, green = cloud.colours[4 * i + 1] / 255, blue = cloud.colours[4 * i + 2] / 255;
      for (let row = top; row <= low; row++) {
        const dy = row + 0.5 - my;
        for (let column = left; column <= right; column++) {
          const at = row * width + column, before = clear[at];
          if (before === 0) continue;
          const dx = column + 0.5 - mx;
          const alpha = Math.min(0.99, opacity * Math.exp(-0.5 * (ca * dx * dx + cc * dy * dy) - cb * dx * dy));
          if (alpha < 1 / 255) continue;
          const after = before * (1 - alpha);
          if (after < 1e-4) { clear[at] = 0; continue; }
          const weight = before * alpha, to = 4 * at;
          light[to] += weight * red; light[to + 1] += weight * green; light[to + 2] += weight * blue;
          light[to + 3] += weight; clear[at] = after;
        }
      }
    }
    return light;
  }

  // The camera of an orbit: angles in radians, the field of view vertical.
  function orbit(azimuth, elevation, distance, fov, height) {
    const ce = Math.cos(elevation), se = Math.sin(elevation), ca = Math.cos(azimuth), sa = Math.sin(azimuth);
    const back = [ce * sa, se, ce * ca];
    return {
      right: [ca, 0, -sa], up: [-se * sa, ce, -se * ca], back,
      eye: back.map((v) => v * distance), focal: 0.5 * height / Math.tan(fov / 2),
    };
  }

  function bytes(text) { return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer; }

  function read(data) {
    return {
      positions: new Float32Array(bytes(data.positions)), covariances: new Float32Array(bytes(data.covariances)),
      colours: new Uint8Array(bytes(data.colours)),
    };
  }

  if (typeof document === "undefined") { module.exports = { draw, orbit, read }; return; }

  const canvas = document.getElementById("view"), cloud = read(JSON.parse(document.getElementById("cloud").textContent));
  const first = { azimuth: 0.5, elevation: 0.3, distance: 3 };
  let now = { ...first }, coarse = false, waiting = false, settle = 0;

  function show() {
    waiting = false;
    const scale = Math.min(1, (coarse ? 300 : 700) / canvas.clientWidth);
    const width = Math.max(2, Math.round(canvas.clientWidth * scale)), height = Math.max(2, Math.round(canvas.clientHeight * scale));
    canvas.width = width; canvas.height = height;
    const light = draw(cloud, orbit(now.azimuth, now.elevation, now.distance, 0.7, height), width, height);
    const picture = new ImageData(width, height);
    for (let at = 0; at < width * height; at++) {
      const rest = 0.96 * (1 - light[4 * at + 3]);
      for (let channel = 0; channel < 3; channel++) picture.data[4 * at + channel] = 255 * (light[4 * at + channel] + rest);
      picture.data[4 * at + 3] = 255;
    }
    canvas.getContext("2d").putImageData(picture, 0, 0);
  }

  function change() {
    coarse = true;
    clearTimeout(settle);
    settle = setTimeout(() => { coarse = false; show(); }, 200);
    if (!waiting) { waiting = true; requestAnimationFrame(show); }
  }

  function turn(azimuth, elevation) {
    now.azimuth += azimuth;
    now.elevation = Math.max(-1.5, Math.min(1.5, now.elevation + elevation));
    change();
  }

  function reset() { now = { ...first }; change(); }

  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) turn(-event.movementX * 0.01, event.movementY * 0.01);
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    now.distance = Math.max(1.3, Math.min(12, now.distance * Math.exp(event.deltaY * 0.001)));
    change();
  }, { passive: false });
  canvas.addEventListener("dblclick", reset);
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
    if (step) { turn(step[0], step[1]); event.preventDefault(); }
  });
  document.getElementById("reset").addEventListener("click", reset);
  addEventListener("resize", show);
  show();
})();
