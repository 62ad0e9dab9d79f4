// An asset to turn, with its materials: plain WebGL 2, no libraries, no network.
(function () {
  "use strict";
  const canvas = document.getElementById("view");

  // What a user reads in the canvas's place when it cannot show the asset.
  function refuse(why) {
    const said = document.createElement("p");
    said.className = "problem"; said.textContent = why;
    canvas.replaceWith(said);
    for (const bar of document.querySelectorAll(".bar")) bar.remove();
  }

  const VERTEX = `#version 300 es
    in vec3 position; in vec3 normal; in vec2 uv; in vec4 colour;
    uniform mat4 projection, view;
    out vec3 at; out vec3 n; out vec2 st; out vec4 paint;
    void main() {
      vec4 p = view * vec4(position, 1.0);
      at = p.xyz; n = mat3(view) * normal; st = uv; paint = colour;
      gl_Position = projection * p;
    }`;

  // Base colours are multiplied as display values, as in the pictures that the program renders; light
  // is added in linear light.
  const FRAGMENT = `#version 300 es
    precision highp float;
    in vec3 at; in vec3 n; in vec2 st; in vec4 paint;
    uniform sampler2D baseMap, roughnessMap, normalMap, occlusionMap, emissiveMap;
    uniform vec4 factor; uniform vec3 emission;
    uniform float rough, metal, cutoff, normalScale, clay, line;
    uniform bool masked, blended, bumpy, unlit, twoSided;
    out vec4 shown;
    vec3 linear(vec3 c) { return mix(c / 12.92, pow((c + 0.055) / 1.055, vec3(2.4)), step(0.04045, c)); }
    vec3 display(vec3 c) {
      c = clamp(c, 0.0, 1.0);
      return mix(c * 12.92, 1.055 * pow(c, vec3(1.0 / 2.4)) - 0.055, step(0.0031308, c));
    }
    vec3 sky(vec3 d) { return mix(vec3(0.30, 0.29, 0.28), vec3(0.88, 0.91, 0.96), d.y * 0.5 + 0.5); }
    void main() {
      vec4 base = texture(baseMap, st) * paint * factor;
      if (masked && base.a < cutoff) discard;
      float alpha = blended && clay < 0.5 ? base.a : 1.0;
      if (line > 0.5) { shown = vec4(0.1, 0.1, 0.1, 1.0); return; }
      vec3 dx = dFdx(at), dy = dFdy(at), flat_ = cross(dx, dy);
      vec3 g = length(flat_) > 0.0 ? normalize(flat_) : vec3(0.0, 0.0, 1.0);
      // A mesh may have normals of no length.
      vec3 m = dot(n, n) > 0.01 ? normalize(n) : g;
      bool back = !gl_FrontFacing;
      if (dot(m, g) < 0.0) m = -m;
      if (bumpy && clay < 0.5) {
        // The frame of the texture from the derivatives on the screen: no tangents are needed.
        vec2 sx = dFdx(st), sy = dFdy(st);
        vec3 px = cross(dy, m), py = cross(m, dx);
        vec3 t = px * sx.x + py * sy.x, b = px * sx.y + py * sy.y;
        float longest = max(dot(t, t), dot(b, b));
        if (longest > 0.0) {
          vec3 bump = texture(normalMap, st).xyz * 2.0 - 1.0;
          bump.xy *= normalScale;
          m = normalize(mat3(t * inversesqrt(longest), b * inversesqrt(longest), m) * bump);
        }
      }
      vec3 albedo = clay > 0.5 ? vec3(0.62, 0.60, 0.57) : linear(base.rgb);
      if (unlit && clay < 0.5) { shown = vec4(display(albedo), alpha); return; }
      vec4 rm = texture(roughnessMap, st);
      float r = clay > 0.5 ? 0.9 : clamp(rough * rm.g, 0.05, 1.0), k = clay > 0.5 ? 0.0 : clamp(metal * rm.b, 0.0, 1.0);
      vec3 to = normalize(-at), key = normalize(vec3(-0.45, 0.65, 0.75)), h = normalize(key + to);
      float nl = max(dot(m, key), 0.0), nv = max(dot(m, to), 1e-3), nh = max(dot(m, h), 0.0), a = r * r;
      vec3 f0 = mix(vec3(0.04), albedo, k), f = f0 + (1.0 - f0) * pow(1.0 - max(dot(h, to), 0.0), 5.0);
      float d = nh * nh * (a * a - 1.0) + 1.0, q = a * 0.5;
      float gloss = a * a / (d * d) / (4.0 * mix(nl, 1.0, q) * mix(nv, 1.0, q));
      float shade = clay > 0.5 ? 1.0 : texture(occlusionMap, st).r;
      vec3 mirrored = mix(sky(reflect(-to, m)), sky(m), r);
      vec3 lit = albedo * (1.0 - k) * (sky(m) * 0.70 * shade + 0.66 * nl)
        + f * min(gloss, 8.0) * nl * 0.5 + mix(f0, max(f0, vec3(1.0 - r)), pow(1.0 - nv, 5.0)) * mirrored * shade * mix(1.0, 0.75, r);
      if (clay < 0.5) lit += emission * linear(texture(emissiveMap, st).rgb);
      // The inside of a surface that has only one side.
      if (back && !twoSided) lit *= 0.4;
      // What is brighter than white keeps its shape and its hue.
      float top = max(lit.r, max(lit.g, lit.b));
      if (top > 0.7) lit *= (1.0 - 0.3 * exp((0.7 - top) / 0.3)) / top;
      shown = vec4(display(lit), alpha);
    }`;

  function start() {
    const data = JSON.parse(document.getElementById("mesh").textContent);
    if (!data.parts.length) return refuse("There is nothing to show: this asset has no faces.");
    const gl = canvas.getContext("webgl2", { antialias: true, alpha: false });
    if (!gl) return refuse("This browser shows no WebGL 2, or it is switched off; open the file in any 3D viewer.");

    const bytes = (text) => {
      const letters = atob(text), out = new Uint8Array(letters.length);
      for (let i = 0; i < letters.length; i++) out[i] = letters.charCodeAt(i);
      return out.buffer;
    };
    const compile = (type, source) => {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source); gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      return shader;
    };
    const program = gl.createProgram(), ATTRIBUTES = ["position", "normal", "uv", "colour"];
    gl.attachShader(program, compile(gl.VERTEX_SHADER, VERTEX));
    gl.attachShader(program, compile(gl.FRAGMENT_SHADER, FRAGMENT));
    ATTRIBUTES.forEach((name, i) => gl.bindAttribLocation(program, i, name));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    const places = {};
    for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i++) {
      const name = gl.getActiveUniform(program, i).name;
      places[name] = gl.getUniformLocation(program, name);
    }

    // Textures: one texel until the picture is decoded.
    const WRAPS = { repeat: gl.REPEAT, clamp: gl.CLAMP_TO_EDGE, mirror: gl.MIRRORED_REPEAT };
    const MAPS = ["baseMap", "roughnessMap", "normalMap", "occlusionMap", "emissiveMap"];
    const largest = gl.getParameter(gl.MAX_TEXTURE_SIZE);
    function texel(values) {
      const texture = gl.createTexture();
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 1, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(values));
      return texture;
    }
    function fitted(image) {
      const share = largest / Math.max(image.width, image.height);
      if (share >= 1) return image;
      const small = document.createElement("canvas");
      small.width = Math.max(1, image.width * share | 0); small.height = Math.max(1, image.height * share | 0);
      small.getContext("2d").drawImage(image, 0, 0, small.width, small.height);
      return small;
    }
    const white = texel([255, 255, 255, 255]), loaded = {};
    function load(number, part) {
      const key = [number, part.wrap, part.nearest].join();
      if (loaded[key]) return loaded[key];
      const texture = loaded[key] = texel([255, 255, 255, 255]), image = new Image();
      image.onload = () => {
        gl.bindTexture(gl.TEXTURE_2D, texture);
        gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, true);
        gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, fitted(image));
        gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, WRAPS[part.wrap[0]]);
        gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, WRAPS[part.wrap[1]]);
        gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, part.nearest ? gl.NEAREST : gl.LINEAR);
        gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
        gl.generateMipmap(gl.TEXTURE_2D);
        ask();
      };
      image.src = data.pictures[number];
      return texture;
    }

    const parts = data.parts.map((part) => {
      const array = gl.createVertexArray();
      gl.bindVertexArray(array);
      const attribute = (place, values, size, type, scaled) => {
        gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
        gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
        gl.enableVertexAttribArray(place); gl.vertexAttribPointer(place, size, type, scaled, 0, 0);
      };
      const positions = new Float32Array(bytes(part.positions)), faces = new Uint32Array(bytes(part.faces));
      attribute(0, positions, 3, gl.FLOAT, false);
      attribute(1, new Int8Array(bytes(part.normals)), 3, gl.BYTE, true);
      if (part.uv) attribute(2, new Float32Array(bytes(part.uv)), 2, gl.FLOAT, false);
      if (part.colours) attribute(3, new Uint8Array(bytes(part.colours)), 4, gl.UNSIGNED_BYTE, true);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, faces, gl.STATIC_DRAW);
      const middle = [0, 0, 0];
      for (let i = 0; i < positions.length; i++) middle[i % 3] += positions[i] * 3 / positions.length;
      const maps = [part.texture, part.roughnessMap, part.normalMap, part.occlusionMap, part.emissiveMap]
        .map((number) => number === undefined ? white : load(number, part));
      const facts = {
        array, middle, maps, count: faces.length, blended: part.alphaMode === "BLEND", wires: null,
        faces, given: part,
      };
      part.positions = part.normals = part.uv = part.colours = part.faces = null;
      return facts;
    });
    if (gl.getError() === gl.OUT_OF_MEMORY) return refuse("The graphics card has not enough memory for this asset.");

    // The camera looks at `target` from `distance`, in units of the asset's radius.
    const HALF = 0.36;
    let azimuth, elevation, distance, target, spin = true, clay = false, wires = false, asked = false, over = false;
    function fit() {
      // The narrower direction of the canvas holds the sphere.
      const aspect = canvas.clientWidth / Math.max(1, canvas.clientHeight);
      return 1.04 / Math.sin(Math.min(HALF, Math.atan(Math.tan(HALF) * aspect)));
    }
    function reset() { azimuth = 0.5; elevation = 0.3; target = [0, 0, 0]; distance = fit(); }
    function axes() {
      const ca = Math.cos(azimuth), sa = Math.sin(azimuth), ce = Math.cos(elevation), se = Math.sin(elevation);
      return { right: [ca, 0, -sa], up: [-se * sa, ce, -se * ca], back: [ce * sa, se, ce * ca] };
    }
    const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

    function uniforms(part) {
      const given = part.given;
      gl.uniform4fv(places.factor, given.colour); gl.uniform3fv(places.emission, given.emission);
      gl.uniform1f(places.rough, given.roughness); gl.uniform1f(places.metal, given.metallic);
      gl.uniform1f(places.cutoff, given.alphaCutoff); gl.uniform1f(places.normalScale, given.normalScale);
      gl.uniform1i(places.masked, given.alphaMode === "MASK"); gl.uniform1i(places.blended, part.blended);
      gl.uniform1i(places.bumpy, given.normalMap !== undefined); gl.uniform1i(places.unlit, given.unlit);
      gl.uniform1i(places.twoSided, given.doubleSided);
      part.maps.forEach((texture, i) => {
        gl.activeTexture(gl.TEXTURE0 + i); gl.bindTexture(gl.TEXTURE_2D, texture); gl.uniform1i(places[MAPS[i]], i);
      });
      gl.activeTexture(gl.TEXTURE0);
      gl.bindVertexArray(part.array);
      // What a part has no array for is the same everywhere.
      gl.vertexAttrib4f(2, 0, 0, 0, 1); gl.vertexAttrib4f(3, 1, 1, 1, 1);
    }
    function lines(part) {
      if (!part.wires) {
        const edges = new Uint32Array(part.count * 2);
        for (let i = 0; i < part.count; i += 3)
          for (let k = 0; k < 3; k++) { edges[2 * (i + k)] = part.faces[i + k]; edges[2 * (i + k) + 1] = part.faces[i + (k + 1) % 3]; }
        part.wires = gl.createBuffer(); part.solid = gl.getParameter(gl.ELEMENT_ARRAY_BUFFER_BINDING);
        gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, part.wires); gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, edges, gl.STATIC_DRAW);
      }
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, part.wires);
      gl.uniform1f(places.line, 1); gl.drawElements(gl.LINES, part.count * 2, gl.UNSIGNED_INT, 0); gl.uniform1f(places.line, 0);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, part.solid);
    }
    function draw() {
      const { right, up, back } = axes(), aspect = canvas.width / canvas.height;
      const away = Math.hypot(...target), near = Math.max(distance - 1.02 - away, distance * 0.002), far = distance + 1.02 + away;
      const f = 1 / Math.tan(HALF), c = (far + near) / (near - far), d = 2 * far * near / (near - far);
      const view = [right[0], up[0], back[0], 0, right[1], up[1], back[1], 0, right[2], up[2], back[2], 0,
        -dot(right, target), -dot(up, target), -dot(back, target) - distance, 1];
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clearColor(0.96, 0.96, 0.95, 1); gl.enable(gl.DEPTH_TEST); gl.depthMask(true);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      gl.uniformMatrix4fv(places.projection, false, [f / aspect, 0, 0, 0, 0, f, 0, 0, 0, 0, c, -1, 0, 0, d, 0]);
      gl.uniformMatrix4fv(places.view, false, view);
      gl.uniform1f(places.clay, clay ? 1 : 0); gl.uniform1f(places.line, 0);
      gl.enable(gl.POLYGON_OFFSET_FILL); gl.polygonOffset(wires ? 1 : 0, wires ? 1 : 0);
      const glass = clay ? [] : parts.filter((part) => part.blended);
      for (const part of parts) {
        if (part.blended && !clay) continue;
        uniforms(part); gl.drawElements(gl.TRIANGLES, part.count, gl.UNSIGNED_INT, 0);
        if (wires) lines(part);
      }
      // Glass from the farthest part to the nearest, and of each part what is turned away first.
      glass.sort((a, b) => dot(back, a.middle) - dot(back, b.middle));
      gl.enable(gl.BLEND); gl.depthMask(false);
      gl.blendFuncSeparate(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      for (const part of glass) {
        uniforms(part); gl.enable(gl.CULL_FACE);
        for (const side of [gl.FRONT, gl.BACK]) { gl.cullFace(side); gl.drawElements(gl.TRIANGLES, part.count, gl.UNSIGNED_INT, 0); }
        gl.disable(gl.CULL_FACE);
        if (wires) lines(part);
      }
      gl.disable(gl.BLEND);
      if (gl.getError() === gl.OUT_OF_MEMORY) { over = true; refuse("The graphics card has not enough memory for this asset."); }
    }
    // One frame for any number of wishes.
    function ask() {
      if (asked || over) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        if (over) return;
        if (spin) azimuth += 0.006;
        try { draw(); } catch (problem) { over = true; return refuse(`The viewer has failed: ${problem.message}`); }
        if (spin) ask();
      });
    }
    function resize() {
      const sharp = Math.min(window.devicePixelRatio || 1, 3), fitted = distance === undefined || Math.abs(distance - resize.last) < 1e-9;
      canvas.width = Math.max(1, Math.round(canvas.clientWidth * sharp));
      canvas.height = Math.max(1, Math.round(canvas.clientHeight * sharp));
      resize.last = fit();
      // Whoever has not zoomed still sees all of it.
      if (fitted) distance = resize.last;
      ask();
    }

    function turn(x, y) {
      azimuth -= x; elevation = Math.max(-1.55, Math.min(1.55, elevation + y)); ask();
    }
    function zoom(share) { distance = Math.max(0.05, Math.min(60, distance * share)); ask(); }
    function move(x, y) {
      // Pixels on the page to distances at the target.
      const { right, up } = axes(), share = 2 * distance * Math.tan(HALF) / Math.max(1, canvas.clientHeight);
      for (let i = 0; i < 3; i++) target[i] = Math.max(-3, Math.min(3, target[i] - (right[i] * x - up[i] * y) * share));
      ask();
    }
    const fingers = new Map();
    const spread = () => {
      const [a, b] = [...fingers.values()];
      return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, far: Math.max(8, Math.hypot(a.x - b.x, a.y - b.y)) };
    };
    canvas.addEventListener("pointerdown", (e) => {
      spin = false; fingers.set(e.pointerId, { x: e.clientX, y: e.clientY }); canvas.setPointerCapture(e.pointerId);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"])
      canvas.addEventListener(end, (e) => fingers.delete(e.pointerId));
    canvas.addEventListener("pointermove", (e) => {
      const last = fingers.get(e.pointerId);
      if (!last) return;
      const two = fingers.size === 2 && spread(), x = e.clientX - last.x, y = e.clientY - last.y;
      fingers.set(e.pointerId, { x: e.clientX, y: e.clientY });
      if (two) { const now = spread(); zoom(two.far / now.far); move(now.x - two.x, now.y - two.y); }
      else if (fingers.size > 2) return;
      else if (e.shiftKey || e.buttons & 6) move(x, y);
      else turn(x * 0.01, y * 0.01);
    });
    canvas.addEventListener("contextmenu", (e) => e.preventDefault());
    canvas.addEventListener("wheel", (e) => {
      e.preventDefault(); spin = false;
      // Lines and pages as pixels.
      zoom(Math.exp(Math.max(-200, Math.min(200, e.deltaY * [1, 16, 400][e.deltaMode])) * 0.0015));
    }, { passive: false });
    canvas.addEventListener("dblclick", () => { reset(); ask(); });
    const KEYS = {
      ArrowLeft: (s) => s ? move(-30, 0) : turn(0.1, 0), ArrowRight: (s) => s ? move(30, 0) : turn(-0.1, 0),
      ArrowUp: (s) => s ? move(0, -30) : turn(0, 0.1), ArrowDown: (s) => s ? move(0, 30) : turn(0, -0.1),
      "+": () => zoom(0.9), "=": () => zoom(0.9), "-": () => zoom(1.1),
      0: () => { reset(); ask(); }, Home: () => { reset(); ask(); },
      c: () => press("clay"), w: () => press("wires"),
    };
    canvas.addEventListener("keydown", (e) => {
      if (!KEYS[e.key] || e.ctrlKey || e.metaKey || e.altKey) return;
      e.preventDefault(); spin = false; KEYS[e.key](e.shiftKey);
    });
    const box = (name) => document.getElementById(name);
    function press(name) { box(name).click(); }
    box("clay").addEventListener("change", (e) => { clay = e.target.checked; ask(); });
    box("wires").addEventListener("change", (e) => { wires = e.target.checked; ask(); });
    box("reset").addEventListener("click", () => { spin = false; reset(); ask(); });
    canvas.addEventListener("webglcontextlost", (e) => {
      e.preventDefault(); over = true;
      refuse("The browser has taken the graphics memory back, perhaps because it ran out; load the page again.");
    });
    // Nothing turns by itself where that is unwelcome, or work for the graphics card.
    const all = parts.reduce((sum, part) => sum + part.count / 3, 0);
    if (all > 1e6 || window.matchMedia("(prefers-reduced-motion: reduce)").matches) spin = false;
    reset(); resize();
    new ResizeObserver(resize).observe(canvas);
  }

  try { start(); } catch (problem) {
    refuse(problem instanceof RangeError
      ? "This browser has not enough memory for this asset."
      : `The viewer has failed: ${problem.message}`);
  }
})();
