"""JAX with the whole epoch in one jit: lax.scan over the permuted batches of resident data, optax's Adam.

    python benchmarks/peers/jax_jit.py MNIST.npz --epochs 3

The last, partial batch is trained on: a step of its own after the scan, in the same jit. The epoch is compiled ahead;
that counts in ready_seconds. The weights start as torch's do: uniform within 1 / sqrt(inputs).
"""

from __future__ import annotations

from collections.abc import Callable

import common
import jax
import jax.numpy as jnp
import numpy as np
import optax

Params = list[tuple[jax.Array, jax.Array]]
State = tuple[Params, optax.OptState]
SIZES = ((784, 400), (400, 20), (400, 20), (20, 400), (400, 784))
ADAM = optax.adam(1e-3)


def initial(key: jax.Array) -> Params:
    def layer(key: jax.Array, inputs: int, outputs: int) -> tuple[jax.Array, jax.Array]:
        both = jax.random.uniform(key, (inputs + 1, outputs), minval=-(inputs**-0.5), maxval=inputs**-0.5)
        return both[:-1], both[-1]

    return [layer(k, *size) for k, size in zip(jax.random.split(key, len(SIZES)), SIZES, strict=True)]


def loss(params: Params, x: jax.Array, key: jax.Array) -> jax.Array:
    """BCE + KL, mean over the batch."""
    hidden, mean, log_variance, decoder, output = params
    h = jax.nn.relu(x @ hidden[0] + hidden[1])
    mu, logvar = h @ mean[0] + mean[1], h @ log_variance[0] + log_variance[1]
    z = mu + jnp.exp(0.5 * logvar) * jax.random.normal(key, mu.shape)
    logits = jax.nn.relu(z @ decoder[0] + decoder[1]) @ output[0] + output[1]
    bce = jnp.sum(jax.nn.softplus(logits) - x * logits)
    return (bce - 0.5 * jnp.sum(1 + logvar - mu**2 - jnp.exp(logvar))) / len(x)


def compiled(state: State, key: jax.Array, data: jax.Array, batch: int) -> Callable[..., State]:
    """An epoch of training, compiled: (state, key, data) -> state."""

    def step(state: State, key: jax.Array, x: jax.Array) -> State:
        updates, adam = ADAM.update(jax.grad(loss)(state[0], x, key), state[1])
        return optax.apply_updates(state[0], updates), adam

    def epoch(state: State, key: jax.Array, data: jax.Array) -> State:
        steps, rest = divmod(len(data), batch)
        shuffle, last, *keys = jax.random.split(key, steps + 2)
        order = jax.random.permutation(shuffle, len(data))
        xs = (jnp.stack(keys), order[: steps * batch].reshape(steps, batch))
        state, _ = jax.lax.scan(lambda state, x: (step(state, x[0], data[x[1]]), None), state, xs)
        return step(state, last, data[order[-rest:]]) if rest else state

    return jax.jit(epoch, donate_argnums=0).lower(state, key, data).compile()


def main() -> None:
    args = common.parser(__doc__).parse_args()
    record = common.Record("jax_jit", ["jax", "optax"], args.batch_size)
    train, test = common.digits(args.mnist)
    data = jnp.asarray(train)
    key, start = jax.random.split(jax.random.key(args.seed))
    params = initial(start)
    state = (params, ADAM.init(params))
    epoch = compiled(state, key, data, args.batch_size)
    for number in range(args.epochs):
        record.epoch_begins()
        state = jax.block_until_ready(epoch(state, jax.random.fold_in(key, number), data))
        layers = [(np.asarray(weight), np.asarray(bias)) for weight, bias in state[0]]
        record.epoch_ends(lambda layers=layers: common.honest_loss(layers, test, args.seed))
    record.report()


if __name__ == "__main__":
    main()
