// A textured mesh to turn with the mouse: plain WebGL, no libraries, no network.
(function () {
  "use strict";
  const data = JSON.parse(document.getElementById("mesh").textContent);
  const canvas = document.getElementById("view");
  const gl = canvas.getContext("webgl", { antialias: true });
  if (!gl) { canvas.replaceWith("This browser shows no WebGL; open asset.glb in any 3D viewer."); return; }
  gl.getExtension("OES_element_index_uint");
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const compile = (type, source) => {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source); gl.compileShader(shader); return shader;
  };
  const program = gl.createProgram();
  gl.attachShader(program, compile(gl.VERTEX_SHADER,
    "attribute vec3 p; attribute vec3 n; attribute vec2 t; uniform mat4 m; uniform mat4 v; varying vec2 uv; varying vec3 nn;" +
    "void main(){ uv=t; nn=(v*vec4(n,0.0)).xyz; gl_Position=m*vec4(p,1.0); }"));
  gl.attachShader(program, compile(gl.FRAGMENT_SHADER,
    "precision mediump float; varying vec2 uv; varying vec3 nn; uniform sampler2D s; uniform float clay;" +
    "void main(){ vec3 c=texture2D(s,uv).rgb; float l=0.35+0.65*max(0.0,dot(normalize(nn),normalize(vec3(0.4,0.6,0.7))));" +
    "gl_FragColor=vec4(mix(c,vec3(0.85)*l,clay),1.0); }"));
  gl.linkProgram(program); gl.useProgram(program);
  const attribute = (name, values, size) => {
    const buffer = gl.createBuffer(), place = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer); gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(place); gl.vertexAttribPointer(place, size, gl.FLOAT, false, 0, 0);
  };
  attribute("p", new Float32Array(bytes(data.vertices)), 3);
  attribute("n", new Float32Array(bytes(data.normals)), 3);
  attribute("t", new Float32Array(bytes(data.uv)), 2);
  const faces = new Uint32Array(bytes(data.faces));
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, faces, gl.STATIC_DRAW);
  const texture = gl.createTexture(), image = new Image();
  let azimuth = 0.5, elevation = 0.3, distance = 3.0, clay = 0, drag = null, spin = true;
  image.onload = () => {
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, true);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, image);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    draw();
  };
  image.src = data.texture;
  function draw() {
    const ca = Math.cos(azimuth), sa = Math.sin(azimuth), ce = Math.cos(elevation), se = Math.sin(elevation);
    const back = [ce * sa, se, ce * ca], right = [ca, 0, -sa];
    const up = [back[1] * right[2] - back[2] * right[1], back[2] * right[0] - back[0] * right[2], back[0] * right[1] - back[1] * right[0]];
    const view = [right[0], up[0], back[0], 0, right[1], up[1], back[1], 0, right[2], up[2], back[2], 0, 0, 0, -distance, 1];
    const f = 1 / Math.tan(0.36), a = canvas.width / canvas.height, near = 0.1, far = 50;
    const c = (far + near) / (near - far), d = (2 * far * near) / (near - far);
    const projection = [f / a, 0, 0, 0, 0, f, 0, 0, 0, 0, c, -1, 0, 0, d, 0];
    const m = new Float32Array(16);
    for (let i = 0; i < 4; i++) for (let j = 0; j < 4; j++)
      for (let k = 0; k < 4; k++) m[4 * j + i] += projection[4 * k + i] * view[4 * j + k];
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0.96, 0.96, 0.95, 1); gl.enable(gl.DEPTH_TEST); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.uniformMatrix4fv(gl.getUniformLocation(program, "m"), false, m);
    gl.uniformMatrix4fv(gl.getUniformLocation(program, "v"), false, new Float32Array(view));
    gl.uniform1f(gl.getUniformLocation(program, "clay"), clay);
    gl.drawElements(gl.TRIANGLES, faces.length, gl.UNSIGNED_INT, 0);
  }
  canvas.addEventListener("pointerdown", (e) => { drag = [e.clientX, e.clientY]; spin = false; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointerup", () => { drag = null; });
  canvas.addEventListener("pointermove", (e) => {
    if (!drag) return;
    azimuth -= (e.clientX - drag[0]) * 0.01;
    elevation = Math.max(-1.5, Math.min(1.5, elevation + (e.clientY - drag[1]) * 0.01));
    drag = [e.clientX, e.clientY]; draw();
  });
  canvas.addEventListener("wheel", (e) => { distance = Math.max(1.2, Math.min(8, distance * Math.exp(e.deltaY * 0.001))); e.preventDefault(); draw(); }, { passive: false });
  document.getElementById("clay").addEventListener("change", (e) => { clay = e.target.checked ? 1 : 0; draw(); });
  (function turn() { if (spin) { azimuth += 0.006; draw(); requestAnimationFrame(turn); } })();
})();
