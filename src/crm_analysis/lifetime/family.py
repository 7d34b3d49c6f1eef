"""The lifetimes: how the time until customers stop differs between them.

In three of the models a customer's risk of stopping is gamma-distributed between customers, and constant (Pareto/NBD),
rising exponentially (Gamma-Gompertz/NBD) or rising or falling as a power of time (Weibull-gamma/NBD); in the fourth
nobody stops (NBD).

A further lifetime is a class with its `label`, the names of its parameters, the power of time in each, starts, and
three functions: `lifetime`, the `pace` of its density, and `stopped`, the inverse of S, from which lives are simulated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from crm_analysis.lifetime.dropout import DropoutFitter

EARLIEST = 1e-290  # time that is told from 0 where the risk of stopping is infinite there


class ParetoNBDFitter(DropoutFitter):
    """Each customer's risk of stopping is constant, and gamma-distributed between customers.

    S(t) = (beta / (beta + t))^s. Schmittlein, Morrison and Colombo, "Counting your customers: who are they and what
    will they do next?", Management Science 33 (1987), 1-24.
    """

    label = "Pareto/NBD"
    names = ("r", "alpha", "s", "beta")
    powers = (0, 1, 0, 1)
    starts = ((0.5, 0.5, 0.5, 1.0), (1.0, 2.0, 1.0, 8.0), (0.2, 0.2, 0.2, 0.2))

    @staticmethod
    def lifetime(t: Any, s: Any, beta: Any) -> Any:
        """Return log S, the log hazard and their slopes."""
        log_S = -s * np.log1p(t / beta)
        past = t / (beta + t)
        return log_S, np.log(s / (beta + t)), (log_S, s * past), (1.0, past - 1)

    @staticmethod
    def pace(t: Any, s: Any, beta: Any) -> Any:
        """Return the pace of the density."""
        return (s + 1) / (beta + t)

    @staticmethod
    def stopped(survival: Any, s: Any, beta: Any) -> Any:
        """Return the inverse of S."""
        return beta * np.expm1(-np.log(survival) / s)


class GammaGompertzNBDFitter(DropoutFitter):
    """Each customer's risk of stopping rises exponentially with time.

    S(t) = (beta / (beta + exp(b t) - 1))^s. Bemmaor and Glady, "Modeling purchasing behavior with sudden 'death': a
    flexible customer lifetime model", Management Science 58 (2012), 1012-1021.
    """

    label = "Gamma-Gompertz/NBD"
    names = ("r", "alpha", "s", "beta", "b")
    powers = (0, 1, 0, 0, -1)
    starts = ((0.5, 0.5, 0.5, 0.1, 0.1), (0.5, 0.5, 0.5, 1.0, 0.5), (1.0, 2.0, 0.2, 5.0, 1.0))

    @staticmethod
    def lifetime(t: Any, s: Any, beta: Any, b: Any) -> Any:
        """Return log S, the log hazard and their slopes."""
        z = b * t
        gone = -np.expm1(-z)
        old = 1 - gone
        whole = beta * old + gone  # (beta + exp(z) - 1) exp(-z)
        log_cover = z + np.log1p(gone * (1 / beta - 1))  # log of (beta + exp(z) - 1) / beta
        log_S, aged = -s * log_cover, z / whole
        hazard_slopes = (1.0, -beta * old / whole, 1 + (beta - 1) * old * aged)
        return log_S, np.log(s * b / beta) + z - log_cover, (log_S, s * gone / whole, -s * aged), hazard_slopes

    @staticmethod
    def pace(t: Any, s: Any, beta: Any, b: Any) -> Any:
        """Return the pace of the density."""
        return b * (1 + (s + 1) / (1 + (beta - 1) * np.exp(-b * t)))

    @staticmethod
    def stopped(survival: Any, s: Any, beta: Any, b: Any) -> Any:
        """Return the inverse of S."""
        return np.log1p(beta * np.expm1(-np.log(survival) / s)) / b


class WeibullGammaNBDFitter(DropoutFitter):
    """Each customer's risk of stopping goes with a power of time: it falls (c < 1) or rises (c > 1).

    S(t) = (1 + (t / beta)^c)^-s, the Burr XII distribution; c = 1 is the Pareto/NBD.
    """

    label = "Weibull-gamma/NBD"
    names = ("r", "alpha", "s", "beta", "c")
    powers = (0, 1, 0, 1, 0)
    starts = ((0.5, 0.5, 0.5, 1.0, 1.0), (0.5, 0.5, 0.5, 1.0, 2.0), (0.5, 0.5, 0.2, 0.3, 0.5))

    @staticmethod
    def lifetime(t: Any, s: Any, beta: Any, c: Any) -> Any:
        """Return log S, the log hazard and their slopes."""
        t = np.maximum(t, EARLIEST)
        log_z = c * np.log(t / beta)
        log_cover, past = np.logaddexp(0, log_z), expit(log_z)
        log_S, aged = -s * log_cover, past * log_z
        hazard = np.log(s * c / t) + log_z - log_cover
        return log_S, hazard, (log_S, s * c * past, -s * aged), (1.0, c * (past - 1), 1 + log_z - aged)

    @staticmethod
    def pace(t: Any, s: Any, beta: Any, c: Any) -> Any:
        """Return the pace of the density; at 0, where it is not smooth, that from when on anybody to speak of stops."""
        past = expit(c * np.log(np.maximum(t, EARLIEST) / beta))
        return (c + 1 + s * c * past) / np.where(t > 0, t, np.maximum(beta * (1e-20 / s) ** (1 / c), EARLIEST))

    @staticmethod
    def stopped(survival: Any, s: Any, beta: Any, c: Any) -> Any:
        """Return the inverse of S."""
        return beta * np.expm1(-np.log(survival) / s) ** (1 / c)


class NBDFitter(DropoutFitter):
    """Nobody ever stops: customers differ in their purchase rate only (Ehrenberg, Applied Statistics 8 (1959))."""

    label = "NBD"
    names = ("r", "alpha")
    powers = (0, 1)
    starts = ((0.5, 0.5), (1.0, 4.0))

    @staticmethod
    def lifetime(t: Any) -> Any:
        """Return log S and the log hazard."""
        return 0.0 * t, -np.inf + 0.0 * t, (), ()

    @staticmethod
    def pace(t: Any) -> Any:
        """Return the pace of no change."""
        return 0.0 * t

    @staticmethod
    def stopped(survival: Any) -> Any:
        """Return the inverse of S."""
        return np.full(np.shape(survival), np.inf)
