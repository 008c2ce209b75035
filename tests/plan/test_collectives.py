"""Collectives read from the text of programs, with loops and every form of groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxmodels.plan.collectives import _groups_of, collectives_of

needs_8 = pytest.mark.skipif(jax.device_count() != 8, reason="needs 8 simulated devices")


@pytest.mark.parametrize(
    ("written", "groups"),
    [
        ("replica_groups={{0,1},{2,3}}, x", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[4], x", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[2,2]T(1,0), x", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=1,'c'=2] {'a'}, x", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'b'}, x", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=4] {'a':(1)2}, x", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=4] {'a':(2)2}, x", [[0, 1], [2, 3]]),
        ("replica_groups={}, x", [[0, 1, 2, 3]]),
    ],
)
def test_groups_are_read_in_every_form(written, groups):
    assert _groups_of(written, 4) == groups


@needs_8
def test_collectives_of_a_program_are_counted_with_their_loops():
    mesh = Mesh(np.array(jax.devices()).reshape(2, 4), ("data", "fsdp"), (AxisType.Auto,) * 2)

    def place(*spec):
        return NamedSharding(mesh, PartitionSpec(*spec))

    def run(x, kernels):
        def layer(x, kernel):
            kernel = jax.lax.with_sharding_constraint(kernel, place())
            return jnp.tanh(x @ kernel), None

        x, _ = jax.lax.scan(layer, x, kernels)
        return jnp.sum(x)

    arrays = jnp.zeros((16, 32)), jnp.zeros((3, 32, 32))
    places = place(("data", "fsdp")), place(None, "fsdp")
    text = jax.jit(run, in_shardings=places).lower(*arrays).compile().as_text()
    found = {(c.kind, c.axes): c for c in collectives_of(text, mesh)}
    gathers = found["all-gather", "fsdp"]
    assert (gathers.size, gathers.bytes) == (4, 3 * 32 * 32 * 4)
    assert gathers.sent == gathers.bytes * 3 / 4
    # Whichever way the compiler takes, in the loop or once before it.
    assert gathers.count in (1, 3)
    total = found["all-reduce", "data+fsdp"]
    assert (total.size, total.count, total.bytes) == (8, 1, 4)
    assert total.sent == 4 * 2 * 7 / 8


def test_the_text_of_a_tpu_program_is_read_too():
    """Starts and ends are separate there, and wrapped in computations of their own."""
    text = """HloModule m
%body (p: (s32[])) -> (s32[]) {
  %g = (f32[2,4]{1,0}, f32[4,4]{1,0}) all-gather-start(%a), replica_groups=[1,2]<=[2]
  %d = f32[4,4]{1,0} all-gather-done(%g)
}
%other (q: f32[]) -> f32[] {
  %r = bf16[8]{0} reduce-scatter(%b), replica_groups={{0,1}}, to_apply=%add
}
%until (p: (s32[])) -> pred[] {
  %n = s32[]{:T(128)} constant(3)
  %less = pred[] compare(%i, %n), direction=LT
}
%again (p: (s32[])) -> (s32[]) {
  %p = f32[8]{0} collective-permute(%a), source_target_pairs={{0,1}}
}
ENTRY %main (x: f32[]) -> f32[] {
  %v = (s32[]) while(%t), condition=%until, body=%again
  %w = (s32[]) while(%t), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %s = ((bf16[16]{0}), bf16[8]{0}) async-start(%x), calls=%other
}
"""
    mesh = Mesh(np.array(jax.devices()[:1] * 2), ("data",), (AxisType.Auto,))
    found = {c.kind: c for c in collectives_of(text, mesh)}
    assert (found["all-gather"].count, found["all-gather"].bytes) == (5, 5 * 4 * 4 * 4)
    assert (found["reduce-scatter"].count, found["reduce-scatter"].bytes) == (1, 8 * 2 * 2)
    # Without a known length, the condition tells it.
    assert found["collective-permute"].count == 3
    assert {c.axes for c in found.values()} == {"data"}


def test_a_collective_in_several_fusions_of_a_computation_counts_once():
    """A TPU begins, goes on with and ends it in one each; another computation has its own."""
    text = """HloModule m
%begin (p: f32[4]) -> f32[8] {
  %a = f32[8]{0} all-gather(%p), channel_id=7, replica_groups={{0,1}}
}
%end (p: f32[4]) -> f32[8] {
  %b = f32[8]{0} all-gather(%p), channel_id=7, replica_groups={{0,1}}
}
%next (p: f32[4]) -> f32[8] {
  %c = f32[8]{0} all-gather(%p), channel_id=8, replica_groups={{0,1}}
}
%body (p: (s32[])) -> (s32[]) {
  %d = f32[8] fusion(%x), kind=kLoop, calls=%begin
  %e = f32[8] fusion(%d), kind=kLoop, calls=%end
}
ENTRY %main (x: f32[]) -> f32[] {
  %v = f32[8] fusion(%x), kind=kLoop, calls=%begin
  %w = f32[8] fusion(%v), kind=kLoop, calls=%next
  %u = f32[8] fusion(%w), kind=kLoop, calls=%end
  %t = (s32[]) while(%t), body=%body, backend_config={"known_trip_count":{"n":"3"}}
}
"""
    mesh = Mesh(np.array(jax.devices()[:1] * 2), ("data",), (AxisType.Auto,))
    [found] = collectives_of(text, mesh)
    assert (found.kind, found.count, found.bytes) == ("all-gather", 2 + 3, 5 * 8 * 4)
