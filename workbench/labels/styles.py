"""Class colours for QGIS: the table from which it styles a GeoPackage's layer by itself."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

import pandas as pd


def style_table(layer: str, column: str, colours: dict[str, str]) -> pd.DataFrame:
    """One row for the GeoPackage table ``layer_styles``: polygons filled by class, the default style of a layer.

    Args:
        layer: name of the layer.
        column: its column that holds the class.
        colours: ``#rrggbb`` by class.
    """
    return pd.DataFrame(
        [
            {
                "f_table_catalog": "",
                "f_table_schema": "",
                "f_table_name": layer,
                "f_geometry_column": "geom",
                "styleName": "classes",
                "styleQML": _qml(column, colours),
                "styleSLD": "",
                "useAsDefault": True,
                "description": "colours of the workbench",
                "owner": "",
                "ui": None,
                "update_time": pd.Timestamp.now(tz="UTC"),
            }
        ]
    )


def _qml(column: str, colours: dict[str, str]) -> str:
    root = Xml.Element("qgis", styleCategories="Symbology")
    renderer = Xml.SubElement(root, "renderer-v2", type="categorizedSymbol", attr=column, enableorderby="0")
    categories, symbols = Xml.SubElement(renderer, "categories"), Xml.SubElement(renderer, "symbols")
    for number, (name, colour) in enumerate(colours.items()):
        Xml.SubElement(categories, "category", value=name, label=name, symbol=str(number), render="true", type="string")
        symbol = Xml.SubElement(symbols, "symbol", name=str(number), type="fill", alpha="0.5")
        fill = Xml.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1"})
        rgb = ",".join(str(int(colour[place : place + 2], 16)) for place in (1, 3, 5))
        options = Xml.SubElement(fill, "Option", type="Map")
        for key, value in (("color", f"{rgb},255"), ("outline_color", f"{rgb},255"), ("outline_width", "0.4")):
            Xml.SubElement(options, "Option", name=key, value=value, type="QString")
    return "<!DOCTYPE qgis>\n" + Xml.tostring(root, encoding="unicode")
