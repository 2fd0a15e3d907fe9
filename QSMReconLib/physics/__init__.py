"""The physics that methods share: constants, Fourier grids, the dipole, spherical means, differences."""
