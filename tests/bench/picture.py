"""A picture of rectangles and words, drawn twice from one description: as SVG, and as PNG by Pillow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image, ImageDraw, ImageFont

#: Pixels of the PNG for each unit of a picture: sharp on dense screens as well.
_SCALE = 2
_COLOURS = 64
_FONT = "Verdana, DejaVu Sans, sans-serif"
#: The embedded font of Pillow is somewhat narrower than those of browsers.
_FONT_SCALE = 1.05


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True, slots=True)
class Words:
    """A line of text on its baseline; `anchor` is start, middle or end."""

    x: float
    y: float
    text: str
    size: float = 13
    colour: str = "#1f2328"
    anchor: str = "start"


Shape = Box | Words


@dataclass(frozen=True, slots=True)
class Picture:
    """Shapes on a ground, from the lowest to the uppermost."""

    width: int
    height: int
    shapes: Sequence[Shape]
    ground: str = "#ffffff"

    def save(self, folder: Path, name: str) -> None:
        """Write it as SVG and as PNG."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.svg").write_text(self.svg())
        self._painted().quantize(_COLOURS).save(folder / f"{name}.png", optimize=True)

    def svg(self) -> str:
        """Return it as SVG."""
        whole = Box(0, 0, self.width, self.height, self.ground)
        drawn = "\n".join(_svg(shape) for shape in (whole, *self.shapes))
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}"'
        return f'{head} width="{self.width}" height="{self.height}" font-family="{_FONT}">\n{drawn}\n</svg>\n'

    def _painted(self) -> Image.Image:
        image = Image.new("RGB", (self.width * _SCALE, self.height * _SCALE), self.ground)
        canvas = ImageDraw.Draw(image)
        for shape in self.shapes:
            _paint(canvas, shape)
        return image


def _svg(shape: Shape) -> str:
    match shape:
        case Box():
            size = f'width="{shape.width:.1f}" height="{shape.height:.1f}"'
            return f'<rect x="{shape.x:.1f}" y="{shape.y:.1f}" {size} fill="{shape.colour}"/>'
        case Words():
            place = f'x="{shape.x:.1f}" y="{shape.y:.1f}" font-size="{shape.size:g}" text-anchor="{shape.anchor}"'
            return f'<text {place} fill="{shape.colour}">{escape(shape.text)}</text>'


def _paint(canvas: ImageDraw.ImageDraw, shape: Shape) -> None:
    match shape:
        case Box():
            left, top = shape.x * _SCALE, shape.y * _SCALE
            corner = (left + shape.width * _SCALE, top + shape.height * _SCALE)
            canvas.rectangle(((left, top), corner), fill=shape.colour)
        case Words():
            font = ImageFont.load_default(shape.size * _SCALE * _FONT_SCALE)
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
            canvas.text((shape.x * _SCALE, shape.y * _SCALE), shape.text, shape.colour, font, anchor=anchor)
