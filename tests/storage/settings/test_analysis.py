from seedsweep.storage.settings.analysis import PartRule


def test_a_rule_of_parts_names_what_came_later_only_if_it_is_set():
    assert not {"shift", "mirror"} & PartRule(least=3).model_dump().keys()
    assert {"shift", "mirror"} <= PartRule(shift=0.05, mirror=True).model_dump().keys()
