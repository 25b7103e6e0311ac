# SPDX-License-Identifier: Apache-2.0
"""The output step: a module for each decoder."""
