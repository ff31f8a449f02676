"""A misspelt key stops the run and names the key that was meant."""

import pytest

from vlm.recipe import RecipeError, RecipeModel, load_recipe


class Optimizer(RecipeModel):
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)


class Recipe(RecipeModel):
    name: str = "run"
    steps: int = 10
    optimizer: Optimizer = Optimizer()
    adapter: Optimizer | None = None


def write(tmp_path, text):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return path


def test_defaults_file_and_overrides_win_in_that_order(tmp_path):
    path = write(tmp_path, "steps: 20\noptimizer: {lr: 5e-4}\n")
    recipe = load_recipe(Recipe, path, ["steps=30", "optimizer.betas=[0.8,0.9]"])
    assert (recipe.name, recipe.steps, recipe.optimizer.lr, recipe.optimizer.betas) == ("run", 30, 5e-4, (0.8, 0.9))


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", "0.0001", ".1e-3"])
def test_a_learning_rate_is_a_number_however_it_is_typed(text):
    assert load_recipe(Recipe, None, [f"optimizer.lr={text}"]).optimizer.lr == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stepz: 3", "did you mean steps?"),
        ("optimizer: {lrr: 3}", "did you mean optimizer.lr?"),
        ("adapter: {beta: 3}", "did you mean adapter.betas?"),
        ("lr: 1", "did you mean optimizer.lr?"),
        ("zzzzzz: 1", "known keys: "),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(tmp_path, text, said):
    with pytest.raises(RecipeError, match=said.replace("?", r"\?").replace(".", r"\.")):
        load_recipe(Recipe, write(tmp_path, text))


@pytest.mark.parametrize("text", ["steps: many", "- a list", "steps: [", "optimizer: 3"])
def test_wrong_values_are_refused_with_the_file_named(tmp_path, text):
    with pytest.raises(RecipeError, match=r"r\.yaml"):
        load_recipe(Recipe, write(tmp_path, text))


def test_a_missing_file_lists_its_neighbours(tmp_path):
    write(tmp_path, "steps: 1")
    with pytest.raises(RecipeError, match=r"there are: r\.yaml"):
        load_recipe(Recipe, tmp_path / "q.yaml")


@pytest.mark.parametrize("override", ["steps", "=3", "name.deeper=3\n"])
def test_a_malformed_override_is_refused(override):
    with pytest.raises(RecipeError):
        load_recipe(Recipe, None, ["name=x", override])


def test_the_digest_follows_the_settings_and_not_the_text(tmp_path):
    a = load_recipe(Recipe, write(tmp_path, "steps: 20"))
    b = load_recipe(Recipe, None, ["steps=20"])
    assert a.digest() == b.digest() != load_recipe(Recipe, None, ["steps=21"]).digest()
    assert load_recipe(Recipe, write(tmp_path, a.to_yaml())) == a
