"""`python -m tests.images [NAME...]`: build images and print their references, archives and sizes."""

from __future__ import annotations

import argparse
import sys

from .buildah import ImageError
from .building import RECIPES, ensure_image


def main() -> int:
    """Build the named images, by default all."""
    parser = argparse.ArgumentParser(prog="python -m tests.images", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(RECIPES)}")
    parser.add_argument("--base", help="reference of the image to build on; by default one made of Debian's packages")
    args = parser.parse_args()
    if unknown := set(args.names) - RECIPES.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(RECIPES)}")
    for name in args.names or RECIPES:
        try:
            image = ensure_image(name, base=args.base)
        except ImageError as error:
            print(error, file=sys.stderr)
            return 1
        print(f"{image.reference}  {image.archive.stat().st_size / 1e6:.0f} MB  {image.archive}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
