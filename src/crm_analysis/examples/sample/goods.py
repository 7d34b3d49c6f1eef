"""What the company sells: 40 products with list prices and unit costs."""

from __future__ import annotations

import pandas as pd

# category: what persons and companies spend on it, and its products: name, list price, margin at list price
RANGE: dict[str, tuple[float, float, dict[str, tuple[float, float]]]] = {
    "Power tools": (
        0.8,
        1.4,
        {
            "Cordless drill 18 V": (189.00, 0.36),
            "Angle grinder 125 mm": (94.50, 0.38),
            "Circular saw 1200 W": (149.00, -0.04),
            "Orbital sander": (79.90, 0.40),
            "Rotary hammer": (329.00, 0.34),
            "Table saw": (649.00, 0.33),
            "Battery pack 4 Ah": (69.90, 0.68),
            "Sanding discs, 50": (14.90, 0.46),
        },
    ),
    "Hand tools": (
        1.2,
        1.0,
        {
            "Claw hammer": (19.90, 0.44),
            "Screwdriver set": (34.50, 0.45),
            "Combination pliers": (22.90, 0.43),
            "Spirit level 60 cm": (27.50, 0.45),
            "Socket set, 94 pieces": (119.00, 0.38),
            "Wood chisel set": (48.00, 0.42),
            "Folding rule": (6.90, 0.66),
            "Tool case": (84.00, 0.01),
        },
    ),
    "Fasteners": (
        0.6,
        1.3,
        {
            "Wood screws 4 x 40, 500": (17.90, 0.45),
            "Wood screws 6 x 80, 200": (24.90, 0.44),
            "Wall plugs 8 mm, 100": (5.90, 0.67),
            "Threaded rods M10, 10": (28.50, 0.40),
            "Construction brackets, 50": (62.00, 0.37),
            "Nails 3.1 x 80, 5 kg": (21.50, 0.02),
            "Assembly adhesive": (7.80, 0.44),
        },
    ),
    "Garden care": (
        1.6,
        0.9,
        {
            "Lawn mower, battery": (379.00, 0.34),
            "Hedge trimmer": (139.00, 0.36),
            "Pruning shears": (29.90, 0.45),
            "Garden hose 25 m": (42.00, 0.42),
            "Wheelbarrow 90 l": (96.00, 0.37),
            "Potting soil 40 l": (9.50, -0.06),
            "Lawn fertiliser 10 kg": (24.50, 0.43),
            "Leaf rake": (16.90, 0.68),
        },
    ),
    "Workwear": (
        0.05,
        0.06,
        {
            "Safety boots": (89.00, 0.40),
            "Work trousers": (64.00, 0.42),
            "Work gloves, 12 pairs": (26.50, 0.46),
            "Ear defenders": (18.90, 0.45),
            "Safety glasses": (8.90, 0.44),
        },
    ),
    "Beekeeping": (
        0.10,
        0.02,
        {
            "Beehive, complete": (149.00, 0.38),
            "Bee smoker": (36.00, 0.43),
            "Beeswax foundation, 2 kg": (29.50, 0.41),
            "Honey jars 500 g, 48": (31.00, 0.42),
        },
    ),
}
SMALL_CATEGORIES = ("Workwear", "Beekeeping")
HIGH_MARGIN, LOW_MARGIN = 0.60, 0.05


def products() -> pd.DataFrame:
    """Return `product_id`, `name`, `category`, `list_price`, `unit_cost`, `margin`."""
    rows = [
        (name, category, price, round(price * (1 - margin), 2), margin)
        for category, (_, _, articles) in RANGE.items()
        for name, (price, margin) in articles.items()
    ]
    frame = pd.DataFrame(rows, columns=["name", "category", "list_price", "unit_cost", "margin"])
    frame.insert(0, "product_id", [f"P{number:02}" for number in range(1, len(frame) + 1)])
    return frame
