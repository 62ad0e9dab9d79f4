"""Small good files of formats of text."""

from __future__ import annotations


def ply(header: str, body: str = "") -> bytes:
    """An ASCII PLY."""
    return f"ply\nformat ascii 1.0\n{header}\nend_header\n{body}".encode()


DAE = """<?xml version="1.0" encoding="utf-8"?>
<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<asset><unit name="centimetre" meter="0.01"/><up_axis>Z_UP</up_axis></asset>
<library_images><image id="i"><init_from>tiles.png</init_from></image></library_images>
<library_effects><effect id="e"><profile_COMMON>
<newparam sid="s"><surface type="2D"><init_from>i</init_from></surface></newparam>
<newparam sid="p"><sampler2D><source>s</source></sampler2D></newparam>
<technique sid="t"><phong><emission><color>0 0.5 0 1</color></emission>
<diffuse><texture texture="p" texcoord="UV"/></diffuse>
<transparency><float>0.5</float></transparency></phong></technique>
</profile_COMMON></effect></library_effects>
<library_materials><material id="m" name="tiles"><instance_effect url="#e"/></material>
</library_materials>
<library_geometries><geometry id="g" name="plate"><mesh>
<source id="a"><float_array id="aa" count="12">0 0 0 100 0 0 100 100 0 0 100 0</float_array>
<technique_common><accessor source="#aa" count="4" stride="3"><param name="X" type="float"/>
<param name="Y" type="float"/><param name="Z" type="float"/></accessor></technique_common></source>
<source id="b"><float_array id="bb" count="8">0 0 1 0 1 1 0 1</float_array>
<technique_common><accessor source="#bb" count="4" stride="2"><param name="S" type="float"/>
<param name="T" type="float"/></accessor></technique_common></source>
<vertices id="v"><input semantic="POSITION" source="#a"/></vertices>
<polylist count="1" material="x"><input semantic="VERTEX" source="#v" offset="0"/>
<input semantic="TEXCOORD" source="#b" offset="1" set="0"/><vcount>4</vcount>
<p>0 0 1 1 2 2 3 3</p></polylist></mesh></geometry></library_geometries>
<library_visual_scenes><visual_scene id="w"><node id="n" name="floor">
<translate>0 0 50</translate><instance_geometry url="#g"><bind_material><technique_common>
<instance_material symbol="x" target="#m"/></technique_common></bind_material>
</instance_geometry></node></visual_scene></library_visual_scenes>
<scene><instance_visual_scene url="#w"/></scene></COLLADA>
"""
"""A plate of one by one metre, half a metre above the floor, in centimetres and +Z up."""

OFF = "COFF\n4 2 0\n0 0 0 255 0 0\n1 0 0 0 255 0\n1 1 0 0 0 255\n0 1 0 9 9 9\n3 0 1 2\n3 0 2 3\n"

TEXT_STL = """solid one part
facet normal 0 0 1
 outer loop
  vertex 0 0 0
  vertex 1 0 0
  vertex 0 1 0
 endloop
endfacet
endsolid one part
solid other
facet normal 0 0 1
 outer loop
  vertex 0 0 2
  vertex 1e0 0 2
  vertex 0 1 2
 endloop
endfacet
endsolid
"""

TEXT_PLY = ply(
    "comment TextureFile tiles.png\nelement vertex 4\nproperty double x\nproperty double y\n"
    "property double z\nproperty uchar red\nproperty uchar green\nproperty uchar blue\n"
    "element face 2\nproperty list uchar int vertex_indices\nproperty list uchar float texcoord",
    "0 0 0 1 2 3\n1 0 0 1 2 3\n1 1 0 1 2 3\n0 1 0 1 2 3\n"
    "3 0 1 2 6 0 0 1 0 1 1\n4 0 1 2 3 8 0 0 1 0 1 1 0 1\n",
)
