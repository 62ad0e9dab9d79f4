"""A small robot with a skin, an animation and a morph target, written as a GLB by numpy, json and
Pillow alone, as a program that knows nothing of this package would write it. Run:
python examples/rigged_figure.py robot.glb"""

import io
import json
import struct
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

JOINTS = {
    # name: parent, place in the scene
    "hips": (None, (0.0, 0.55, 0.0)),
    "chest": ("hips", (0.0, 0.85, 0.0)),
    "neck": ("chest", (0.0, 1.32, 0.0)),
    "left arm": ("chest", (0.52, 1.14, 0.0)),
    "right arm": ("chest", (-0.52, 1.14, 0.0)),
}
NUMBER = {name: k for k, name in enumerate(JOINTS)}
CODES = {"f4": 5126, "u2": 5123, "u1": 5121}
WIDTHS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


def rounded_box(half, radius, centre, place, corner=6):
    """A box with round edges: position, normal, uv and faces. Its six sides are charts of their own
    in the rectangle `place` (left, top, width, height) of the texture: +x -x +y above -y +z -z."""
    half, centre = np.array(half), np.array(centre)
    position, normal, uv, faces = [], [], [], []
    bend = np.linspace(0, np.pi / 4, corner + 1)
    for side in range(6):
        axis, sign = side // 2, 1 - 2 * (side % 2)
        across, up = (2, 1) if axis == 0 else (0, 2) if axis == 1 else (0, 1)
        lines, lengths = [], []
        for k in (across, up):
            flat = half[k] - radius
            middle = np.linspace(-flat, flat, 5)[1:-1] if flat > 1e-9 else np.zeros(0)
            end = flat + radius * np.tan(bend[int(flat <= 1e-9) :])
            first = -end[::-1] if flat > 1e-9 else np.append(-end[::-1], 0.0)
            line = np.concatenate([first, middle, end])
            over = np.maximum(np.abs(line) - flat, 0) / radius
            length = np.sign(line) * (np.minimum(np.abs(line), flat) + radius * np.arctan(over))
            lines.append(line)
            lengths.append((length - length[0]) / np.ptp(length))
        s, t = (grid.ravel() for grid in np.meshgrid(*lines))
        point = np.zeros((len(s), 3))
        point[:, axis], point[:, across], point[:, up] = sign * half[axis], s, t
        inner = point.clip(-(half - radius), half - radius)
        out = (point - inner) / np.linalg.norm(point - inner, axis=1, keepdims=True)
        mirrored = {0: -sign, 1: 1, 2: sign}[axis]
        u, v = (grid.ravel() for grid in np.meshgrid(*lengths))
        u = u if mirrored > 0 else 1 - u
        v = v if (axis, sign) == (1, -1) else 1 - v
        left, top, wide, high = place
        cell = np.stack([(side % 3 + 0.04 + 0.92 * u) / 3, (side // 3 + 0.04 + 0.92 * v) / 2], 1)
        base, columns = sum(map(len, position)), len(lines[0])
        rows = np.arange(len(lines[1]) - 1)[:, None] * columns + np.arange(columns - 1)
        a = base + rows.ravel()
        quads = np.stack([a, a + 1, a + 1 + columns, a, a + 1 + columns, a + columns], 1)
        # The sides whose first and second axis turn the other way are wound the other way.
        turned = np.cross(np.eye(3)[across], np.eye(3)[up])[axis] * sign < 0
        triangles = quads.reshape(-1, 3)
        faces.append(triangles[:, ::-1] if turned else triangles)
        position.append(centre + inner + radius * out)
        normal.append(out)
        uv.append(np.array([left, top]) + cell * [wide, high])
    return tuple(np.concatenate(rows) for rows in (position, normal, uv, faces))


def joined(pieces):
    """Several pieces as one, and how many vertices each has."""
    counts = [len(piece[0]) for piece in pieces]
    starts = np.cumsum([0, *counts[:-1]])
    faces = [piece[3] + start for piece, start in zip(pieces, starts)]
    columns = [np.concatenate([piece[k] for piece in pieces]) for k in range(3)]
    return (*columns, np.concatenate(faces)), counts


def weights_of(joint, points):
    """The weights (V, 5) of points that hang from one joint; "spine" bends from hips to chest."""
    weights = np.zeros((len(points), len(JOINTS)))
    if joint == "spine":
        high = np.clip((points[:, 1] - 0.6) / 0.5, 0, 1)
        weights[:, NUMBER["chest"]] = high * high * (3 - 2 * high)
        weights[:, NUMBER["hips"]] = 1 - weights[:, NUMBER["chest"]]
    else:
        weights[:, NUMBER[joint]] = 1
    return weights


def parts():
    """The three parts: a name, their pieces with the joint that each hangs from."""
    body = [(rounded_box((0.4, 0.38, 0.26), 0.14, (0, 0.94, 0), (0, 0, 1, 1)), "spine")]
    head = [(rounded_box((0.33, 0.25, 0.25), 0.12, (0, 1.62, 0), (0, 0, 1, 0.75)), "neck")]
    limbs = []
    for k, (side, arm) in enumerate(((1, "left arm"), (-1, "right arm"))):
        third = [(k / 2, row / 3, 0.5, 1 / 3) for row in range(3)]
        upper = rounded_box((0.1, 0.31, 0.1), 0.1, (side * 0.52, 0.93, 0), third[0], 4)
        leg = rounded_box((0.11, 0.2, 0.11), 0.1, (side * 0.2, 0.43, 0), third[1], 4)
        foot = rounded_box((0.17, 0.12, 0.24), 0.11, (side * 0.2, 0.13, 0.06), third[2], 5)
        limbs += [(upper, arm), (leg, "hips"), (foot, "hips")]
        place = (k / 4, 0.75, 0.25, 0.25)
        eye = rounded_box((0.065,) * 3, 0.065, (side * 0.13, 1.66, 0.23), place, 4)
        head.append((eye, "neck"))
    stem = rounded_box((0.025, 0.13, 0.025), 0.025, (0, 1.95, 0), (0.5, 0.75, 0.1, 0.25), 3)
    ball = rounded_box((0.07,) * 3, 0.07, (0, 2.1, 0), (0.75, 0.75, 0.25, 0.25), 4)
    neck = rounded_box((0.13, 0.1, 0.13), 0.09, (0, 1.34, 0), (0.6, 0.75, 0.15, 0.25), 3)
    head += [(stem, "neck"), (ball, "neck"), (neck, "neck")]
    return {"body": body, "head": head, "limbs": limbs}


def face_picture():
    """The head's texture: a visor with a smile, black eyes, a grey stem, a yellow ball."""
    picture = Image.new("RGB", (512, 512), (226, 222, 210))
    draw = ImageDraw.Draw(picture)
    # The front (+z) is the middle one below, the back (-z) the right one.
    left, top, wide, high = 512 / 3, 192, 512 / 3, 192
    draw.rounded_rectangle((left + 34, top + 46, left + wide - 34, top + high - 40), 30, "#28405c")
    draw.arc((left + 62, top + 78, left + wide - 62, top + 134), 25, 155, "#9fe8ff", 6)
    draw.rectangle((0, 384, 255, 511), "#eaf6ff")
    for k in (0, 1):  # pupils, on the front of each eye
        x, y = 128 * (k + 0.5), 384 + 128 * 0.75
        draw.ellipse((x - 11, y - 15, x + 11, y + 15), "#141c26")
    draw.rectangle((256, 384, 383, 511), "#6d7279")
    draw.rectangle((384, 384, 511, 511), "#f2b53a")
    return encoded(picture, "JPEG")


def panel_normals(size=512):
    """The body's normal map: a groove around a panel on each of its six sides."""
    height = Image.new("L", (size, size), 128)
    draw = ImageDraw.Draw(height)
    for column in range(3):
        for row in range(2):
            x, y = size / 3 * column, size / 2 * row
            box = (x + 44, y + 66, x + size / 3 - 44, y + size / 2 - 66)
            draw.rounded_rectangle(box, 14, None, 60, 4)
    field = np.asarray(height, np.float64) / 255
    smooth = sum(np.roll(field, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9
    down, right = np.gradient(smooth)
    normal = np.stack([-6 * right, 6 * down, np.ones_like(smooth)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return encoded(Image.fromarray(np.rint((normal * 0.5 + 0.5) * 255).astype(np.uint8)), "PNG")


def encoded(picture, kind):
    """A picture file's bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": 92} if kind == "JPEG" else {}))
    return buffer.getvalue()


class Glb:
    """A document and its binary buffer."""

    def __init__(self):
        self.binary = bytearray()
        self.document = {"asset": {"version": "2.0", "generator": "rigged_figure.py"}, "scene": 0}

    def add(self, table, **row):
        """A row of a table; gives its number."""
        self.document.setdefault(table, []).append(row)
        return len(self.document[table]) - 1

    def view(self, data):
        """Bytes of the buffer; gives the number of their view."""
        self.binary += b"\0" * (-len(self.binary) % 4)
        start = len(self.binary)
        self.binary += data
        return self.add("bufferViews", buffer=0, byteOffset=start, byteLength=len(data))

    def accessor(self, values, kind="<f4", limits=False):
        """A table of numbers (N, columns); gives its number."""
        table = np.ascontiguousarray(np.asarray(values, kind))
        table = table[:, None] if table.ndim == 1 else table
        row = {"count": len(table), "type": WIDTHS[table.shape[1]]}
        if limits:
            row |= {"min": table.min(0).tolist(), "max": table.max(0).tolist()}
        code = CODES[table.dtype.str[1:]]
        return self.add(
            "accessors", bufferView=self.view(table.tobytes()), componentType=code, **row
        )

    def image(self, data, mime, name):
        """A texture of a picture file; gives its number."""
        source = self.add("images", bufferView=self.view(data), mimeType=mime, name=name)
        return self.add("textures", source=source)

    def data(self):
        """The file's bytes."""
        document = {**self.document, "buffers": [{"byteLength": len(self.binary)}]}
        text = json.dumps(document).encode()
        text += b" " * (-len(text) % 4)
        binary = bytes(self.binary) + b"\0" * (-len(self.binary) % 4)
        size = 28 + len(text) + len(binary)
        head = struct.pack("<4sIIII", b"glTF", 2, size, len(text), 0x4E4F534A)
        return head + text + struct.pack("<II", len(binary), 0x004E4942) + binary


def add_materials(glb):
    """One material a part, by the part's name."""
    panels = glb.image(panel_normals(), "image/png", "panels")
    face = glb.image(face_picture(), "image/jpeg", "face")
    grey = {"baseColorFactor": [0.4, 0.42, 0.45, 1], "metallicFactor": 0, "roughnessFactor": 0.5}
    steel = {"baseColorFactor": [0.1, 0.12, 0.15, 1], "metallicFactor": 0.3, "roughnessFactor": 0.4}
    shown = {"baseColorTexture": {"index": face}, "metallicFactor": 0, "roughnessFactor": 0.45}
    return {
        "body": glb.add(
            "materials",
            name="shell",
            pbrMetallicRoughness=grey,
            normalTexture={"index": panels},
            extras={"part number": 7},
        ),
        "head": glb.add("materials", name="face", pbrMetallicRoughness=shown),
        "limbs": glb.add("materials", name="steel", pbrMetallicRoughness=steel),
    }


def add_joints(glb):
    """The joints' nodes and the skin; gives the number of each."""
    places = {name: np.array(place) for name, (_, place) in JOINTS.items()}
    for name, (parent, _) in JOINTS.items():
        move = places[name] - (places[parent] if parent else 0)
        children = [NUMBER[c] for c, (p, _) in JOINTS.items() if p == name]
        more = {"children": children} if children else {}
        glb.add("nodes", name=name, translation=np.round(move, 6).tolist(), **more)
    inverse = np.tile(np.eye(4), (len(JOINTS), 1, 1))
    inverse[:, 3, :3] = -np.array(list(places.values()))
    matrices = glb.accessor(inverse.reshape(-1, 16))
    return glb.add(
        "skins", name="rig", joints=list(NUMBER.values()), skeleton=0, inverseBindMatrices=matrices
    )


def add_part(glb, name, pieces, material, skin):
    """A part's mesh and node; the head's eyes have the morph target "blink"."""
    (position, normal, uv, faces), counts = joined([shape for shape, _ in pieces])
    ends = np.cumsum(counts)[:-1]
    hung = [weights_of(j, p) for (_, j), p in zip(pieces, np.split(position, ends))]
    weights = np.concatenate(hung)
    order = np.argsort(-weights, 1, kind="stable")[:, :4]
    shares = np.take_along_axis(weights, order, 1)
    row = {
        "attributes": {
            "POSITION": glb.accessor(position, limits=True),
            "NORMAL": glb.accessor(normal),
            "TEXCOORD_0": glb.accessor(uv),
            "JOINTS_0": glb.accessor(np.where(shares > 0, order, 0), "u1"),
            "WEIGHTS_0": glb.accessor(shares),
        },
        "indices": glb.accessor(faces.ravel(), "<u2"),
        "material": material,
    }
    more = {}
    if name == "head":
        moved = np.zeros_like(position)
        eyes = slice(counts[0], counts[0] + counts[1] + counts[2])
        moved[eyes, 1] = -0.85 * (position[eyes, 1] - 1.66)
        row["targets"] = [{"POSITION": glb.accessor(moved, limits=True)}]
        more = {"weights": [0.0], "extras": {"targetNames": ["blink"]}}
    mesh = glb.add("meshes", name=name, primitives=[row], **more)
    return glb.add("nodes", name=name, mesh=mesh, skin=skin)


def turns(axis, degrees):
    """Quaternions (N, 4) about an axis."""
    half = np.radians(degrees)[:, None] / 2
    return np.concatenate([np.sin(half) * np.eye(3)["xyz".index(axis)], np.cos(half)], 1)


def add_animation(glb, head):
    """Two seconds: the right arm waves, the head nods, the chest leans, the eyes blink twice."""
    time = np.linspace(0, 2, 41)
    swell = np.clip(np.minimum(time, 2 - time) / 0.4, 0, 1)
    swell = swell * swell * (3 - 2 * swell)
    moves = {
        "right arm": turns("z", -swell * (135 + 22 * np.sin(2 * np.pi * 2 * (time - 0.4)))),
        "left arm": turns("z", swell * 14),
        "neck": turns("x", swell * 11 * np.sin(2 * np.pi * (time - 0.4))),
        "chest": turns("z", swell * 5 * np.sin(np.pi * time)),
    }
    clock = glb.accessor(time, limits=True)
    samplers, channels = [], []
    for name, values in moves.items():
        channels.append(
            {"sampler": len(samplers), "target": {"node": NUMBER[name], "path": "rotation"}}
        )
        samplers.append({"input": clock, "output": glb.accessor(values)})
    blink = sum(np.exp(-(((time - at) / 0.07) ** 2)) for at in (0.55, 1.45))
    channels.append({"sampler": len(samplers), "target": {"node": head, "path": "weights"}})
    samplers.append({"input": clock, "output": glb.accessor(np.where(blink < 0.01, 0, blink))})
    glb.add("animations", name="wave", samplers=samplers, channels=channels)


def robot():
    """The bytes of the robot's GLB."""
    glb = Glb()
    skin, materials = add_joints(glb), add_materials(glb)
    nodes = {n: add_part(glb, n, pieces, materials[n], skin) for n, pieces in parts().items()}
    add_animation(glb, nodes["head"])
    glb.add("scenes", name="a robot", nodes=[0, *nodes.values()])
    return glb.data()


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "robot.glb")
    target.write_bytes(robot())
    print(f"{target}: {target.stat().st_size:,} bytes")
