# SPDX-License-Identifier: Apache-2.0
"""What tests share: a real daemon under test, and where the shared data lies."""
