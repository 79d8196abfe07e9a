"""The transformer's operations with their backward passes written out, for the CPU.

Torch's own autograd of the forms in `trainers.models.network.plain` is right, but sends every intermediate
through memory several times. Here a sublayer is one Function that works on a few sequences at a time, so that
what lies between its matrix products stays in the core's cache. A norm's gain is folded into the matrix
behind it, residual sums into matrix products, and RoPE is one complex product.

Each function has the shapes and the meaning of its namesake in ``plain``, and is tested against it.
"""
