"""Compiled shapes: what each model looks like to the kernel. One row for each parameter, in the model's order.

A linear parameter's row is its basis function, a nonlinear one's the derivative of the basis function it shapes. They
are compiled one by one, when first used. Modules here may import numba, math and the solver's jit and special.
"""
