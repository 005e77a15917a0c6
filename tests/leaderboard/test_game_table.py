"""Games as text and pictures."""

from __future__ import annotations

from xml.etree import ElementTree

from made_games import make_game

from robuststack.leaderboard.game import GAME_HEADER, game_cells
from robuststack.leaderboard.game_drawing import draw_game


def test_a_game_as_a_row_of_a_table():
    cells = dict(zip(GAME_HEADER, game_cells(make_game()), strict=True))
    assert cells["RA hidden %"] == "at most 42.0 [37.0, 47.0]"
    assert cells["hiding is worth"] == "+9.5 [+6.0, +13.0] points"
    assert cells["mixture"] == "lambda=0 25 %, lambda=1 75 % (CA at least 90 %)"
    assert cells["rounds"] == "1, upper bound"
    settled = dict(zip(GAME_HEADER, game_cells(make_game(upper_bound=False, least_clean=None)), strict=True))
    assert (settled["RA hidden %"], settled["rounds"]) == ("42.0 [37.0, 47.0]", "1")


def test_the_heat_map_has_every_cell_and_is_the_same_for_the_same_game():
    content = draw_game(make_game())
    assert content == draw_game(make_game())
    assert content != draw_game(make_game(values=[60.0, 41.0], hidden={"value": 41.0, "low": 37.0, "high": 47.0}))
    root = ElementTree.fromstring(content)
    texts = ["".join(element.itertext()).strip() for element in root.iter() if element.tag.endswith("}text")]
    assert {"12.0", "80.0", "70.0", "41.0", "20.0", "45.0", "10.0", "40.0"} <= set(texts)
    assert "PGD-20 on mixture, round 1" in texts
    assert "hidden at most 42.0 [37.0, 47.0] %, seen 32.5 [28.0, 37.0] %" in texts
    assert not any(element.tag.endswith("}image") for element in root.iter())
